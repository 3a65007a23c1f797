"""Vec2Text's speed and embedder calls against a plain rendering of the published recursion.

python benchmarks/invert.py [--model tiny] [--texts 16] [--steps 20] [--beam 4] [--rounds 3]

The plain rendering decodes with transformers' `generate`, embeds all b² candidates of a text at every
step, keeps the b best distinct ones and never stops early. Both use the same weights and embedder.
CPU time of one process, one thread, the variants in turns, medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_invert.default.notes import notes
from kdst_invert.embedders.minilm import minilm
from kdst_vec2text.inversion import InversionSettings, invert_block
from kdst_vec2text.models import Inverter
from kdst_vec2text.pair import Vec2Text, load_corrector
from kdst_vec2text.tokens import padded

BATCH = 16
CLOSE = 1e-5
"""Difference of two cosines that is rounding."""


@frozen
class Found:
    """What a variant returned: cosine (N,) of every row and embedder calls."""

    texts: Sequence[str]
    cosine: Tensor
    calls: int


@torch.inference_mode()
def plain(model: Vec2Text, embed: Embedder, e: Tensor, steps: int, beam: int) -> Found:
    """The published recursion, batch after batch."""
    texts: list[str] = []
    cosines, calls = [], 0
    for rows in e.split(BATCH):
        found = generate(model, model.hypothesiser, model.hypothesiser.inputs(rows), beam)
        kept = [found[i : i + beam] for i in range(0, len(found), beam)]
        e_hat = embed([text for row in kept for text in row])
        calls += len(found)
        for _ in range(steps):
            every = rows.repeat_interleave(beam, 0)
            flat = [text for row in kept for text in row]
            x_hat = padded(model.tokens.ids(flat, model.config.max_seq_length))
            assert model.corrector is not None
            found = generate(
                model, model.corrector, model.corrector.inputs(every, e_hat, x_hat), beam
            )
            vectors = embed(found)
            calls += len(found)
            width = beam * beam
            like = torch.cosine_similarity(rows.repeat_interleave(width, 0), vectors, dim=-1)
            kept, chosen = [], []
            for start in range(0, len(found), width):
                ranked = like[start : start + width].argsort(descending=True) + start
                distinct = list({found[i]: i for i in reversed(ranked.tolist())}.values())[::-1]
                picked = (distinct * beam)[:beam]
                kept.append([found[i] for i in picked])
                chosen += picked
            e_hat = vectors[chosen]
        best = torch.cosine_similarity(rows, e_hat[::beam], dim=-1)
        texts += [row[0] for row in kept]
        cosines.append(best)
    return Found(texts, torch.cat(cosines), calls)


def generate(
    model: Vec2Text, network: Inverter, inputs: tuple[Tensor, Tensor], beam: int
) -> list[str]:
    """`beam` texts of each input by transformers' beam search, ranked by their probability."""
    tokens = network.encoder_decoder.generate(
        inputs_embeds=inputs[0],
        attention_mask=inputs[1],
        num_beams=beam,
        num_return_sequences=beam,
        do_sample=False,
        length_penalty=0.0,
        max_new_tokens=model.config.max_seq_length,
    )
    return [text or "." for text in model.tokens.texts(tokens[:, 1:].tolist())]


def ours(
    model: Vec2Text, embed: Embedder, e: Tensor, steps: int, beam: int, patience: int
) -> Found:
    """This package's inversion of the same batches."""
    settings = InversionSettings(steps, beam, batch=BATCH * beam, patience=patience)
    last = []
    for rows in e.split(BATCH):
        *_, final = invert_block(model, embed, rows, settings)
        last.append(final)
    texts = [text for final in last for text in final.texts]
    cosine = torch.cat([final.cosine for final in last])
    return Found(texts, cosine, sum(final.embedder_calls for final in last))


def cpu(work: Callable[[], Found]) -> tuple[float, Found]:
    """CPU seconds of a piece of work, and what it returned."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="as kdst run vec2text takes it")
    parser.add_argument("--texts", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patience", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, embed = load_corrector(arguments.model), minilm()
    originals = [note.text for note in notes("held-out", 4 * arguments.texts)]
    every = embed(originals)
    e, how = every[: arguments.texts], (arguments.steps, arguments.beam)
    variants: dict[str, Callable[[], Found]] = {
        "plain": lambda: plain(model, embed, e, *how),
        "ours, no early stop": lambda: ours(model, embed, e, *how, 0),
        "ours": lambda: ours(model, embed, e, *how, arguments.patience),
    }
    taken: dict[str, list[float]] = {name: [] for name in variants}
    results: dict[str, Found] = {}
    for _ in range(arguments.rounds):
        for name, work in variants.items():
            seconds, results[name] = cpu(work)
            taken[name].append(seconds)
            print(f"{name}: {seconds:.1f} CPU-s, {results[name].calls} calls", flush=True)
    show(taken, results, originals[: arguments.texts])
    for count in (1, 2, 4):
        part = every[: count * arguments.texts]
        seconds, _ = cpu(lambda part=part: ours(model, embed, part, *how, arguments.patience))  # type: ignore[misc]
        print(f"{len(part)} texts: {seconds / len(part):.3f} CPU-s a text")


def show(
    taken: dict[str, list[float]], results: dict[str, Found], originals: Sequence[str]
) -> None:
    """Print texts a second, calls a text, and how they compare with the plain rendering."""
    base, reference = statistics.median(taken["plain"]), results["plain"]
    for name, found in results.items():
        middle, count = statistics.median(taken[name]), len(originals)
        exact = sum(a == b for a, b in zip(found.texts, originals, strict=True))
        worse = int((found.cosine.double() < reference.cosine.double() - CLOSE).sum())
        print(
            f"{name}: {count / middle:.3f} texts a CPU-s"
            f" [{count / max(taken[name]):.3f}, {count / min(taken[name]):.3f}],"
            f" {found.calls / count:.1f} calls a text; {base / middle:.2f} times as fast,"
            f" 1/{reference.calls / found.calls:.1f} of the calls; exact {exact}/{count},"
            f" mean cosine {float(found.cosine.mean()):.5f}, rows with a lower cosine {worse}",
            flush=True,
        )


if __name__ == "__main__":
    main()
