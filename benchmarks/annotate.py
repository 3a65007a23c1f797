"""Sampling and filtering of Toolformer against a plain rendering: documents a CPU-minute, memory.

`python benchmarks/annotate.py [--rounds 3]` first checks in float64 that both draw the same tokens from
the same random numbers and compute the same losses, then measures both in turns in one process, on one
thread, in float32. The plain rendering takes one document, one position and one sample at a time and
keeps nothing between calls of the model. Both use the same GPT-2 of 4 layers and 256 dimensions with
random weights, and texts of about 100 tokens after prompts of about 250. `--only STAGE` leaves the
check out and measures one stage. `--growth` measures time and peak memory
over numbers of documents, each in a process of its own. Filtering is measured with calls that are all
different, and with calls that were each proposed at several positions, as a model with a low τ_s does:
before the whole text, such a call is read once. "deciding" leaves out the loss of a call without its
result where the other two reject it, as is done by default before the whole text. Random weights let no
call pass, so the threshold is then one that a quarter of the calls pass as far as the other two tell;
plain still computes all three. `--model smollm2` (or any that `kdst run` takes) measures another thing:
what sampling and filtering of `--texts` texts cost with that model and the default options of
`kdst run toolformer`, the calculator and the calendar.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch

from kdst_core.contracts import Document, ToolCall, ToolsRequest
from kdst_toolformer import ToolformerOptions, prompts
from kdst_toolformer.method import Annotator
from kdst_toolformer.reading.draws import generator, pick
from kdst_toolformer.sample import hopeless
from kdst_toolformer.score import WEIGHTS
from kdst_tools.calls import escape
from kdst_tools.default import documents
from kdst_tools.models import layouts
from kdst_tools.tools.kit import FunctionTool

EXAMPLES = (
    (
        "Anna had 412 apples and bought 77 more. Now she has 489.",
        "Anna had 412 apples and bought 77 more. Now she has [Calculator(412 + 77)] 489.",
    ),
)
TOOL = FunctionTool("Calculator", "The input is an expression.", lambda a, d: "489", EXAMPLES)
MAX_INPUT = 16
CALLS_A_TEXT = 10
REPEATS = 3
"""Positions at which a call is proposed, where calls repeat."""
PARTS = 3
OPEN = 0.25
"""Share of calls whose third loss is needed, where only losses that decide are computed."""


def short_texts(count: int) -> list[Document]:
    """Return generated documents of one to a few sentences."""
    return [Document(text.text) for text in documents(count, Random("benchmark"))]


def texts(count: int) -> list[Document]:
    """Return documents of `PARTS` generated ones, so that prompt and text are of realistic length."""
    parts = [document.text for document in short_texts(PARTS * count)]
    return [Document(" ".join(parts[i : i + PARTS])) for i in range(0, len(parts), PARTS)]


def learner(
    dtype: torch.dtype, placement: str = "prefix", losses: str = "all", tau_f: float = 0.5
) -> Annotator:
    """Return our stages on the random model."""
    tokenizer = layouts.tokenizer([d.text for d in short_texts(400)], size=1024)
    model = layouts.model("gpt2", len(tokenizer), width=256, layers=4, context=1024).to(dtype)
    options = ToolformerOptions(
        sampler="prompted",
        placement=placement,  # type: ignore[arg-type]
        tau_s=["Calculator=0"],
        k=["Calculator=5"],
        m=["Calculator=5"],
        tau_f=[f"Calculator={tau_f}"],
        losses=losses,  # type: ignore[arg-type]
        max_input=MAX_INPUT,
        dtype="auto",
    )
    return Annotator(ToolsRequest(model, tokenizer, [TOOL]), options)


def ours(found: Annotator, shard: Sequence[Document]) -> dict[tuple[str, int, int], list[int]]:
    """Sample calls our way: (document, position, number) to the tokens after <API>."""
    return {
        (drawn.batch[place.row].document.id, place.index, number): list(written)
        for drawn in found.sampler.draw(shard)
        for place, samples in zip(drawn.places, drawn.written, strict=True)
        for number, written in enumerate(samples)
    }


@torch.inference_mode()
def plain(found: Annotator, shard: Sequence[Document]) -> dict[tuple[str, int, int], list[int]]:
    """Sample calls plainly: the whole prompt is read again for every position and every token."""
    model, tokens = found.request.model, found.tokens
    drawn = {}
    for document in shard:
        x = tokens.encode(escape(document.text)).ids
        text = prompts.head(TOOL) + prompts.before(escape(document.text))
        prompt = tokens.prefix + tokens.encode(text).ids
        p = []
        for i in range(len(x)):
            logits = model(torch.tensor([prompt + x[:i]])).logits[0, -1]
            p.append(float(logits.softmax(-1)[tokens.start_id]))
        positions = sorted(sorted(range(len(x)), key=lambda i: (-p[i], i))[:5])
        source = generator(0, "sample", document.id, "0", "Calculator")
        for i in positions:
            u = torch.rand(5, MAX_INPUT, generator=source)
            for number in range(5):
                drawn[document.id, i, number] = _one(found, prompt + x[:i], u[number])
    return drawn


def _one(found: Annotator, before: list[int], u: torch.Tensor) -> list[int]:
    """Sample one call."""
    ids, written = [*before, found.tokens.start_id], list[int]()
    for step in range(MAX_INPUT):
        logits = found.request.model(torch.tensor([ids])).logits[:, -1]
        token = int(pick(logits, u[step : step + 1], 1.0))
        ids.append(token)
        written.append(token)
        text = found.tokens.decode(written)
        if token == found.tokens.eos or "]" in text or "->" in text:
            break
        if len(written) <= len(found.tokens.head(TOOL.name, "")) and hopeless(text, [TOOL.name]):
            break
    return written


def proposed(found: Annotator, shard: Sequence[Document], repeats: int = 1) -> list[ToolCall]:
    """Calls with results, each at `repeats` random positions of its text."""
    calls = []
    for document in shard:
        source = Random(document.id)
        count = len(found.tokens.encode(escape(document.text)).ids)
        for _ in range(CALLS_A_TEXT):
            a, b = source.randint(10, 999), source.randint(10, 999)
            calls += [
                ToolCall(document.id, position, "Calculator", f"{a} + {b}", result=str(a + b))
                for position in source.sample(range(count), repeats)
            ]
    return calls


@torch.inference_mode()
def plain_losses(
    found: Annotator, shard: Sequence[Document], calls: Sequence[ToolCall]
) -> list[tuple[float, float, float]]:
    """L_i(empty), L_i(call), L_i(call with result) of each call, from a pass each."""
    by_id = {document.id: document for document in shard}
    tokens = found.tokens
    losses = []
    for call in calls:
        x = tokens.encode(escape(by_id[call.doc].text)).ids
        z = (
            [],
            tokens.call(call.tool, call.input),
            tokens.call(call.tool, call.input, call.result),
        )
        losses.append(tuple(_loss(found, x, call.position, part) for part in z))
    return losses  # type: ignore[return-value]


def _loss(found: Annotator, x: list[int], i: int, z: list[int]) -> float:
    """L_i(z) from one pass over the whole text."""
    at = 0 if found.placement == "prefix" else i
    ids = [*found.tokens.prefix, *x[:at], *z, *x[at:]]
    logits = found.request.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    first = len(found.tokens.prefix) + len(z) + i
    return -sum(
        w * float(logits[first + t - 1, x[i + t]]) for t, w in enumerate(WEIGHTS) if i + t < len(x)
    )


def cpu(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of a call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def check(short: Sequence[Document], shard: Sequence[Document]) -> None:
    """Assert in float64 that both sample the same tokens, and in float32 that losses are the same."""
    double = learner(torch.float64)
    assert ours(double, short) == plain(double, short), "the sampled tokens differ"
    print(f"same tokens in {len(ours(double, short))} sampled calls (float64, shared draws)")
    for placement in ("prefix", "inline"):
        single = learner(torch.float32, placement)
        calls = proposed(single, shard) + proposed(single, shard, REPEATS)
        filtered = single.filter(shard, calls)
        losses = plain_losses(single, shard, calls)
        worst = max(
            abs(a - b)
            for call, row in zip(filtered, losses, strict=True)
            for a, b in zip((call.L_empty, call.L_call, call.L_full), row, strict=True)
            if a is not None
        )
        assert worst < 1e-4, f"losses differ by {worst}"
        print(f"losses of {len(calls)} calls, {placement}: at most {worst:.1e} apart (float32)")
        tau_f = _threshold(single, shard, calls)
        kept, short = (
            [
                call.kept
                for call in learner(torch.float32, placement, losses, tau_f).filter(shard, calls)
            ]
            for losses in ("all", "deciding")
        )
        assert kept == short, "the losses that decide keep other calls"
        print(f"the same {sum(kept)} calls kept from the losses that decide")


def compare(rounds: int, count: int, only: str) -> None:
    """Measure both in turns and print documents a CPU-minute: ours on `count` texts, plain on one."""
    many, few = texts(count), texts(1)
    single = learner(torch.float32)
    before = single.tokens.encode(prompts.head(TOOL) + prompts.before(few[0].text)).ids
    text = single.tokens.encode(few[0].text).ids
    print(f"plain text: {len(text)} tokens after a prompt of {len(before)}")
    stages: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "sampling": (lambda: ours(single, many), lambda: plain(single, few))
    }
    for placement in ("prefix", "inline"):
        found = learner(torch.float32, placement)
        for repeats in (1, REPEATS):
            name = f"filtering, {placement}" + (f", {repeats} positions" if repeats > 1 else "")
            stages[name] = _filtering(found, many, few, repeats)
        calls = proposed(found, many)
        deciding = learner(torch.float32, placement, "deciding", _threshold(found, many, calls))
        stages[f"filtering, {placement}, deciding"] = _filtering(deciding, many, few, 1)
    print(f"{'':32s} {'ours':>10s} {'plain':>10s}  documents a CPU-minute, medians of {rounds}")
    for name, (fast, slow) in stages.items():
        if only not in name:
            continue
        pairs = [(cpu(fast) / len(many), cpu(slow) / len(few)) for _ in range(rounds)]
        a, b = (60 / statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = sorted(slow / fast for fast, slow in pairs)
        middle, spread = statistics.median(ratios), f"{ratios[0]:.1f} to {ratios[-1]:.1f}"
        print(f"{name:32s} {a:10.1f} {b:10.2f}  {middle:6.1f} × ({spread})", flush=True)


def _threshold(found: Annotator, shard: Sequence[Document], calls: Sequence[ToolCall]) -> float:
    """The τ_f that a share `OPEN` of the calls reach against L_i(ε)."""
    drops = [(c.L_empty or 0.0) - (c.L_full or 0.0) for c in found.filter(shard, calls)]
    return statistics.quantiles(drops, n=round(1 / OPEN))[-1]


def _filtering(
    found: Annotator, many: Sequence[Document], few: Sequence[Document], repeats: int
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Filtering of proposed calls, our way and plainly."""
    fast, slow = proposed(found, many, repeats), proposed(found, few, repeats)
    return lambda: found.filter(many, fast), lambda: plain_losses(found, few, slow)


def growth() -> None:
    """Print CPU time and peak memory of annotating more and more documents, shard by shard."""
    print("documents  CPU-s  CPU-ms a document  peak MiB")
    for count in (32, 64, 128):
        done = subprocess.run(
            [sys.executable, __file__, "--count", str(count)],
            capture_output=True,
            text=True,
            check=True,
        )
        print(done.stdout.strip())


def annotate(count: int) -> None:
    """Sample and filter `count` documents in shards of 32, and print what it took."""
    single = learner(torch.float32)
    many = texts(count)
    started = time.process_time()
    for first in range(0, count, 32):
        shard = many[first : first + 32]
        single.sample(shard)
        single.filter(shard, proposed(single, shard))
    spent = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count:9d} {spent:6.1f} {1000 * spent / count:18.1f} {peak:9.0f}")


def real(name: str, count: int) -> None:
    """Print what the default options cost a text with a model that `--model` names."""
    from kdst_core.bench.libraries import silence_libraries
    from kdst_tools.models import pretrained
    from kdst_tools.tools import toolset

    with silence_libraries():
        model, tokenizer = pretrained.load(name, "cpu")
    tools = toolset.load(list(toolset.DEFAULT), network=False)
    found = Annotator(ToolsRequest(model, tokenizer, tools), ToolformerOptions())
    shard = texts(count)
    lengths = [len(found.tokens.encode(escape(document.text)).ids) for document in shard]
    print(f"{count} texts of {statistics.mean(lengths):.0f} tokens, {name}, one thread")
    calls: list[ToolCall] = []
    stages: dict[str, Callable[[], list[ToolCall]]] = {
        "sampling": lambda: found.execute(shard, found.sample(shard)),
        "filtering": lambda: found.filter(shard, calls),
    }
    total = 0.0
    for stage, work in stages.items():
        started = time.process_time()
        calls = work()
        spent = (time.process_time() - started) / count
        total += spent
        print(f"{stage:10s} {spent:6.2f} CPU-s a text", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    scored = sum(call.gain is not None for call in calls)
    print(f"both       {total:6.2f} CPU-s a text, {peak:.2f} GiB at the peak")
    print(f"{len(calls)} calls, {scored} scored, {sum(call.kept for call in calls)} kept")


def main() -> None:
    """Check, then measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=16, help="texts that ours reads in a round")
    parser.add_argument("--only", default="", help="measure one stage: sampling, prefix or inline")
    parser.add_argument("--growth", action="store_true", help="time and memory over documents")
    parser.add_argument("--count", type=int, help="annotate so many documents once")
    parser.add_argument("--model", help="what the default options cost with this model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.model:
        real(arguments.model, arguments.texts)
        return
    if arguments.count:
        annotate(arguments.count)
    elif arguments.growth:
        growth()
    else:
        if not arguments.only:
            check(short_texts(1), texts(2))
        compare(arguments.rounds, arguments.texts, arguments.only)


if __name__ == "__main__":
    main()
