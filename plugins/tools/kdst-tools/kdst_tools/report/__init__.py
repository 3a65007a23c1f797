"""The report of a run: exact match, texts with their calls, what the filter kept, what it cost."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdst_core.contracts import ToolCall
from kdst_core.reports.blocks import Figure, Marked, ReportContent, Stat, Table
from kdst_show.artifacts import Artifacts
from kdst_tools.report import highlight, pictures

if TYPE_CHECKING:
    from kdst_tools.evaluation.filtering import Truth

Block = Figure | Table | Marked
CALLING = ("before", "after", "shipped", "rejection")
"""The models that call on problems."""
REASONS = 20
"""Reasons that the table of them has."""
THRESHOLDS = [tau / 20 for tau in range(-20, 61)]
"""The values of τ_f over which precision and recall are drawn."""


def content(result: Mapping[str, Any], directory: Path) -> ReportContent:
    """Return the content of a report from a result and the artifacts beside it."""
    run = Artifacts(result, directory)
    if "generation.json" in result["artifacts"]:
        said = run.json("generation.json")
        return ReportContent("One prompt, continued.", _prompt_stats(result["metrics"]),
                             [Marked("The continuation", [highlight.continuation(said)],
                                     key=highlight.KEY[:1])])  # fmt: skip
    if "generations.jsonl" in result["artifacts"]:
        some = list(islice(run.lines("generations.jsonl"), highlight.SHOWN))
        shown = [highlight.continuation(said) for said in some]
        return ReportContent("Prompts, continued.", _prompt_stats(result["metrics"]),
                             [Marked("The first continuations", shown, key=highlight.KEY[:1])])  # fmt: skip
    blocks = [*_measured(run), *_filtered(run), *_made(run)]
    return ReportContent(_subtitle(result), _stats(result["metrics"]), blocks)


def _measured(run: Artifacts) -> Iterator[Block]:
    """Exact match, and some problems with what the models made of them."""
    metrics = run.result["metrics"]
    if "exact.after" in metrics:
        yield pictures.exact_match(metrics, int(metrics["problems"]))
        from kdst_tools.evaluation import calling

        if lines := calling.rows(metrics, CALLING):
            yield Table("Calls on the problems", ["", *calling.SCORES.values()], lines)
    if "training.json" in run and (rows := run.json("training.json")):
        yield pictures.training(rows)


def _filtered(run: Artifacts) -> Iterator[Block]:
    """Gains, and precision and recall where the truth is known."""
    if "calls.jsonl" not in run:
        return
    calls = [ToolCall(**row) for row in run.lines("calls.jsonl")]
    scored = [call for call in calls if call.gain is not None]
    if not scored:
        return
    truth, thresholds = _truth(run.result), _thresholds(run.result["options"])
    bounds = any(call.L_call is None for call in scored)
    if truth is None:
        yield pictures.gains([call.gain or 0.0 for call in scored], None, thresholds, bounds)
        return
    from kdst_tools.evaluation.filtering import curve, distinct

    best = distinct(scored, truth)
    helping = [good for _, good in best]
    yield pictures.gains([c.gain or 0.0 for c, _ in best], helping, thresholds, bounds)
    known = [tau for tau in THRESHOLDS if not bounds or tau >= max(thresholds, default=0.0)]
    yield pictures.precision_recall(curve(scored, truth, known), thresholds)


def _made(run: Artifacts) -> Iterator[Block]:
    """Texts with calls, continuations, counts and costs."""
    if "annotations.jsonl" in run and (texts := highlight.texts(run.lines("annotations.jsonl"))):
        caption = "Texts of the last round. Point at a call to see its losses."
        yield Marked("Texts with their calls", texts, caption, highlight.KEY)
    if "evaluation.json" in run and (answers := highlight.answers(run.json("evaluation.json"))):
        caption = "Held-out problems as the finetuned model continues them."
        yield Marked("Problems", answers, caption, highlight.ANSWER_KEY)
    if "counts.json" in run:
        yield _counts(run.json("counts.json"))
    if "reasons.json" in run and any((rounds := run.json("reasons.json")).values()):
        yield _reasons(rounds)
    if "cost.json" in run:
        yield _cost(run.json("cost.json"), run.result["metrics"])


def _subtitle(result: Mapping[str, Any]) -> str:
    given = result["input"]
    texts = given.get("texts")
    source = f"the texts of {Path(texts).name}" if texts else "generated texts"
    tools = ", ".join(given.get("tool_names", given["tools"]))
    return f"The model {given['model']} learns from {source} to use {tools}."


def _stats(metrics: Mapping[str, float]) -> list[Stat]:
    """Return the headline numbers that the run has."""
    stats = []
    if "exact.after" in metrics:
        before = metrics.get("exact.before")
        note = "" if before is None else f"before {before:.1%}"
        stats.append(Stat("Exact match", f"{metrics['exact.after']:.1%}", note, strong=True))
    for name, label in (
        ("filter.precision", "Filter precision"),
        ("filter.recall", "Filter recall"),
    ):
        if name in metrics:
            low, high = metrics[f"{name}.low"], metrics[f"{name}.high"]
            stats.append(Stat(label, f"{metrics[name]:.1%}", f"{low:.1%} to {high:.1%}"))
    if "count.kept" in metrics:
        sampled = int(metrics["count.sampled"])
        stats.append(
            Stat("Calls kept", f"{int(metrics['count.kept']):,}", f"of {sampled:,} sampled")
        )
    if "false_calls" in metrics:
        note = "of prose texts, which need none"
        stats.append(Stat("False calls", f"{metrics['false_calls']:.1%}", note))
    if "perplexity.plain.after" in metrics:
        before = metrics["perplexity.plain.before"]
        value = f"{metrics['perplexity.plain.after']:.2f}"
        stats.append(Stat("Perplexity, plain text", value, f"before {before:.2f}"))
    return stats


def _prompt_stats(metrics: Mapping[str, float]) -> list[Stat]:
    return [
        Stat("Calls", f"{int(metrics['calls'])}", strong=True),
        Stat("Tokens", f"{int(metrics['tokens'])}"),
    ]


def _thresholds(options: Mapping[str, Any]) -> list[float]:
    """Return the thresholds τ_f that a run names, of whatever tools."""
    named = options.get("tau_f", ())
    values = [str(item).rpartition("=")[2] for item in named] or ["1.0"]
    return sorted({float(value) for value in values})


def _truth(result: Mapping[str, Any]) -> "Truth | None":
    """Return which calls help in the texts of the last round, generated again; None for others'."""
    given = result["input"]
    if given.get("texts") or given["model"] != "tiny":
        return None
    from random import Random

    from kdst_core.contracts import Document
    from kdst_tools.default import documents

    number = result["options"].get("rounds", 1)
    drawn = documents(int(given["documents"]), Random(f"round {result['seed']} {number}"))
    return {Document(text.text).id: text.helps for text in drawn}


def _counts(rounds: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Table:
    """How many calls of each tool came how far, a round."""
    kinds = ("sampled", "executed", "failed", "kept")
    rows = [
        [f"round {number}, {tool}", *(f"{counts[kind]:,}" for kind in kinds)]
        for number, tools in rounds.items()
        for tool, counts in tools.items()
    ]
    return Table("Calls at each stage", ["", *kinds], rows)


def _reasons(rounds: Mapping[str, Mapping[str, int]]) -> Table:
    """Why calls were not kept, and how many, over all rounds; the most frequent reasons first."""
    total: Counter[str] = Counter()
    for counts in rounds.values():
        total.update(counts)
    ranked = total.most_common()
    rows = [[reason, f"{number:,}"] for reason, number in ranked[:REASONS]]
    if rest := ranked[REASONS:]:
        rows.append([f"{len(rest):,} other reasons", f"{sum(n for _, n in rest):,}"])
    return Table("Why calls were not kept", ["reason", "calls"], rows)


def _cost(seconds: Mapping[str, float], metrics: Mapping[str, float]) -> Table:
    """Seconds of each stage."""
    rows = [[stage, f"{spent:.1f}"] for stage, spent in seconds.items()]
    rows.append(["all", f"{sum(seconds.values()):.1f}"])
    kept, spent = metrics.get("count.kept", 0), seconds.get("annotate", 0.0)
    caption = f"{spent / kept:.2f} s of annotating for each call that was kept." if kept else ""
    return Table("What it cost", ["stage", "seconds"], rows, caption)
