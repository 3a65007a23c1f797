"""The report of a run: what leaks in one paragraph, texts at each step, curves and measures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure, Marked, ReportContent, Span, Stat, Table
from kdst_invert.measures.confidence import is_guess
from kdst_invert.measures.labels import LABELS
from kdst_invert.report.highlight import KEY, marked
from kdst_invert.report.verdict import knew, sentences
from kdst_show.artifacts import Artifacts

BASELINES = {
    "greedy": "greedy search",
    "nearest": "nearest training text",
    "shuffled": "shuffled embeddings",
    "ridge": "ridge regression to words, no network",
    "slots": "slots of known sentences searched, no network",
    "open": "words of open text (bow), first rows, in no order",
}
STEPS_SHOWN = 6
"""Steps that the table shows besides the last one."""

Block = Figure | Table | Marked


def content(result: Mapping[str, Any], directory: Path) -> ReportContent:
    """Return the content of the report of a run, a study or an audit, from the artifacts beside it."""
    if "audit.json" in result["artifacts"]:
        from kdst_invert.store_audit.report import content as audited

        return audited(result, directory)
    if result["input"]["study"] != "none":
        from kdst_invert.studies.report import study_content

        return study_content(result, directory)
    files = Artifacts(result, directory)
    scores, examples = files.json("scores.json"), files.json("examples.json")
    metrics = result["metrics"]
    blocks: list[Block] = [verdict(result)]
    blocks.append(texts(examples))
    if scores["measures"].keys() & {"exact"}:
        blocks.append(_curves(scores))
    if scores["cosine_quantiles"]:
        blocks.append(_cosines(scores))
    blocks.append(_by_step(scores))
    blocks += _fields(metrics)
    blocks += _baselines(metrics)
    return ReportContent(_subtitle(result), _stats(metrics), blocks)


def _subtitle(result: Mapping[str, Any]) -> str:
    """Say in one sentence what was inverted."""
    given = result["input"]
    what = "held-out notes of the embedded kind" if given["notes"] else "texts"
    precision = given.get("embedder_precision")
    computed = f", computed in {precision}" if precision else ""
    return (
        f"{given['rows']} embeddings of {what}, made by {given['embedder_name']}"
        f" (D = {given['dimension']}{computed}), turned back into text."
    )


def _stats(metrics: Mapping[str, float]) -> list[Stat]:
    """Return the headline numbers with their intervals."""
    stats = []
    for name, label in LABELS.items():
        if f"{name}.final" in metrics:
            value = metrics[f"{name}.final"]
            low, high = metrics[f"{name}.final.low"], metrics[f"{name}.final.high"]
            rate = name in ("exact", "names")
            shape = "{:.1%}" if rate else "{:.4f}" if name == "cosine" else "{:.3f}"
            note = f"{shape.format(low)} to {shape.format(high)}"
            stats.append(Stat(label[0].upper() + label[1:], shape.format(value), note, strong=rate))
    calls = metrics["embedder_calls_per_text"]
    speed = f"{metrics['texts_per_second']:.2f} texts a second"
    stats.append(Stat("Embedder calls a text", f"{calls:.1f}", speed))
    return stats


def verdict(result: Mapping[str, Any]) -> Marked:
    """A paragraph that a person in charge can act on."""
    said = sentences(result["metrics"], knew(result))
    return Marked("What this means", [[Span(" ".join(said))]])


def texts(examples: Sequence[Mapping[str, Any]]) -> Marked:
    """Original beside recovered texts, token by token, at each step that changed them."""
    paragraphs = []
    for row in examples:
        original = row["original"]
        if original is not None:
            paragraphs.append(marked(f"{row['row']}  original  ", original, None, row["fields"]))
        for step, text, cosine in row["steps"]:
            head = f"step {step}, cosine {cosine:.4f}  " if cosine is not None else f"step {step}  "
            head = f"guess, {head}" if is_guess(cosine) else head
            paragraphs.append(marked(head, text, original, row["fields"]))
    caption = (
        "The first rows, not chosen. A step is shown where it changed the text. Tokens are aligned with"
        " the original; what the original says and the recovered text lacks is not shown. A guess is no"
        " finding: what it says of people may be made up."
    )
    return Marked("Original and recovered", paragraphs, caption, KEY)


def _curves(scores: Mapping[str, Any]) -> Figure:
    """Measures by step with their intervals."""
    with charts.figure(5.4, 3.4) as (fig, axes):
        shown = [n for n in ("exact", "names", "token_f1", "bleu") if n in scores["measures"]]
        for number, name in enumerate(shown):
            values = scores["measures"][name]
            colour = charts.SERIES[number + 1]
            x = range(len(values))
            axes.plot(x, [v[0] for v in values], color=colour, marker="o", ms=4, label=LABELS[name])
            axes.fill_between(
                x, [v[1] for v in values], [v[2] for v in values], color=colour, alpha=0.18, lw=0
            )
        axes.set_xlabel("step; 0 is the first hypothesis")
        axes.set_ylim(0, 1.03)
        _whole_steps(axes, len(scores["measures"][shown[0]]))
        fig.legend(loc="outside upper left", ncols=4, handlelength=1.2, fontsize=9)
        picture = charts.svg(fig, "measures")
    caption = "Means over the texts; the bands are 95 % bootstrap intervals."
    return Figure("Measures by step", caption, svg=picture)


def _cosines(scores: Mapping[str, Any]) -> Figure:
    """How the rows' cosines lie after each step."""
    found = scores["cosine_quantiles"]
    with charts.figure(5.4, 3.4) as (fig, axes):
        x = range(len(found))
        colour = charts.SERIES[1]
        for low, high, alpha in ((0, 4, 0.12), (1, 3, 0.24)):
            axes.fill_between(
                x,
                [q[low] for q in found],
                [q[high] for q in found],
                color=colour,
                alpha=alpha,
                lw=0,
            )
        axes.plot(x, [q[2] for q in found], color=colour, marker="o", ms=4)
        axes.set_xlabel("step; 0 is the first hypothesis")
        axes.set_ylabel("cosine to the given embedding")
        _whole_steps(axes, len(found))
        picture = charts.svg(fig, "cosines")
    caption = "Median over the texts, and the bands that hold the middle half and the middle 90 %."
    return Figure("Cosine by step", caption, svg=picture)


def _whole_steps(axes: Any, count: int) -> None:
    """Ticks at whole steps."""
    axes.set_xticks(range(0, count, max(1, count // 10)))


def _by_step(scores: Mapping[str, Any]) -> Table:
    """Every measure by step with intervals."""
    names = [n for n in LABELS if n in scores["measures"]]
    count = len(scores["measures"][names[0]]) if names else 0
    steps = [*range(min(count, STEPS_SHOWN)), *([count - 1] if count > STEPS_SHOWN else [])]
    rows = [
        [str(step), *(_with_interval(scores["measures"][n][step]) for n in names)] for step in steps
    ]
    caption = (
        f"Mean over {scores['rows']} texts and its 95 % interval. Token F1 counts words, unit F1 numbers"
        " with their sign and decimal mark, symbols, and words of any script."
    )
    return Table("Measures by step", ["step", *(LABELS[n] for n in names)], rows, caption)


def _with_interval(found: Sequence[float]) -> str:
    """Value and interval of a table's cell."""
    value, low, high = found
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _fields(metrics: Mapping[str, float]) -> list[Block]:
    """How often each kind of named field was read."""
    names = [n.split(".")[1] for n in metrics if n.startswith("field.") and n.endswith(".final")]
    found = [("full name", "names.final")] if "names.final" in metrics else []
    found += [(name, f"field.{name}.final") for name in sorted(names)]
    rows = [
        [label, _with_interval([metrics[key], metrics[f"{key}.low"], metrics[f"{key}.high"]])]
        for label, key in found
    ]
    caption = "Share of the texts with such a field whose recovered text holds it word for word."
    return [Table("Named fields", ["field", "recovered"], rows, caption)] if rows else []


def _baselines(metrics: Mapping[str, float]) -> list[Block]:
    """The inversion beside greedy search, memory and chance."""
    shown = {p: label for p, label in BASELINES.items() if f"{p}.token_f1" in metrics}
    if not shown:
        return []
    names = [n for n in LABELS if f"{n}.final" in metrics]
    rows = [
        ["this run", *(_cell(metrics, f"{n}.final") for n in names)],
        *([label, *(_cell(metrics, f"{p}.{n}") for n in names)] for p, label in shown.items()),
    ]
    caption = (
        "Nearest training text: the one of highest cosine in place of the inversion, taken from those"
        " that share most words with the original, which favours it. Shuffled embeddings: each"
        " recovered text against the next row's original. Greedy: the same without a beam."
    )
    if "slots.texts" in metrics:
        caption += (
            " Ridge regression: words in no order, learned from 1,000 notes. Slots: the first"
            f" {metrics['slots.texts']:.0f} notes, by an attacker who knows the sentences that all notes are"
            " made of and tries what may fill them,"
            f" {metrics['slots.embedder_calls_per_text']:.0f} embedder calls a text."
        )
    return [Table("Against memory and chance", ["", *(LABELS[n] for n in names)], rows, caption)]


def _cell(metrics: Mapping[str, float], key: str) -> str:
    """A metric and its interval, or a dash."""
    if key not in metrics:
        return "–"
    return _with_interval([metrics[key], metrics[f"{key}.low"], metrics[f"{key}.high"]])
