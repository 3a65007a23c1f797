"""The report of an audit: findings in words first, then who reads what, and what a defence would cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure, Marked, ReportContent, Span, Stat, Table
from kdst_invert.measures.units import units
from kdst_invert.store_audit.leakage import LABELS, main
from kdst_invert.store_audit.sentences import findings, untested
from kdst_show.artifacts import Artifacts

NAMES = {
    "inverter": "other texts and search",
    "words": "linear, bag of words",
    "nearest": "nearest known text",
}
READ, HIDDEN = "■", "□"


def content(result: Mapping[str, Any], directory: Path) -> ReportContent:
    """Return the content of an audit's report."""
    table = Artifacts(result, directory).json("audit.json")
    subtitle = (
        f"{table['rows']} rows of {table['kind']} with {table['dimension']} numbers each;"
        f" {table['attacked']} of them attacked."
    )
    blocks: list[Figure | Table | Marked] = [
        _paragraphs("What this store gives away", findings(table)),
        _paragraphs("What was not tested", untested(table)),
        _readers(table),
    ]
    if len({row["known"] for row in table["leaks"]}) > 1:
        blocks.append(_curve(table))
    if table["protection"]:
        blocks.append(_protection(table))
    blocks.append(_examples(table))
    return ReportContent(subtitle, _stats(table), blocks)


def _paragraphs(title: str, sentences: Sequence[str]) -> Marked:
    """Sentences, each a paragraph."""
    return Marked(title, [[Span(s)] for s in sentences])


def _stats(table: Mapping[str, Any]) -> list[Stat]:
    """The best reading, the most read kind of personal data, and membership."""
    stats = []
    if table["leaks"]:
        measure = main([row["leaks"] for row in table["leaks"]])
        best = max(table["leaks"], key=lambda row: row["leaks"][measure]["gain"])
        leak = best["leaks"][measure]
        note = f"chance {leak['chance']:.2f}; {NAMES[best['attacker']]}, {best['known']:,} known"
        stats.append(
            Stat(f"{LABELS[measure]}, best reader", f"{leak['value']:.2f}", note, strong=True)
        )
        kinds = [
            (leak, kind)
            for row in table["leaks"]
            for kind, leak in row["leaks"].items()
            if kind not in LABELS and leak["found"]
        ]
        if kinds:
            leak, kind = max(kinds, key=lambda found: found[0]["value"])
            stats.append(
                Stat(
                    f"Most read: {kind}", f"{leak['value']:.0%}", f"of {leak['count']}", strong=True
                )
            )
    if table["membership"] is not None:
        found = table["membership"]
        stats.append(
            Stat("Members recognised", f"{found['recognised'][0]:.0%}", "1 % false alarms")
        )
    return stats


def _readers(table: Mapping[str, Any]) -> Table:
    """Every attacker with every number of known texts, and each kind of data."""
    kinds = list(dict.fromkeys(k for row in table["leaks"] for k in row["leaks"]))
    rows, strong = [], set()
    for n, row in enumerate(table["leaks"]):
        cells = [f"{row['known']:,}", NAMES[row["attacker"]]]
        for kind in kinds:
            leak = row["leaks"].get(kind)
            cells.append("–" if leak is None else _cell(leak, kind in LABELS))
            if leak is not None and leak["found"]:
                strong.add((n, len(cells) - 1))
        rows.append(cells)
    caption = (
        "Mean with its 95 % interval, and after the stroke what chance gives: the same recovered texts"
        " against those of other rows. Bold: above chance."
    )
    header = ["known texts", "reader", *(LABELS.get(k, k) for k in kinds)]
    return Table("Who reads what", header, rows, caption, strong)


def _cell(leak: Mapping[str, Any], plain: bool) -> str:
    """A value, its interval and chance."""
    shape = "{:.2f}" if plain else "{:.0%}"
    value, low, high, chance = (shape.format(leak[k]) for k in ("value", "low", "high", "chance"))
    return f"{value} ({low} to {high}) / {chance}"


def _curve(table: Mapping[str, Any]) -> Figure:
    """F1 over the number of known texts."""
    measure = main([row["leaks"] for row in table["leaks"]])
    with charts.figure(5.4, 3.4) as (fig, axes):
        for number, name in enumerate(NAMES):
            rows = [row for row in table["leaks"] if row["attacker"] == name]
            if not rows:
                continue
            x = [max(row["known"], 1) for row in rows]
            leaks = [row["leaks"][measure] for row in rows]
            colour = charts.SERIES[number + 1]
            axes.plot(x, [v["value"] for v in leaks], color=colour, marker="o", label=NAMES[name])
            axes.fill_between(
                x,
                [v["low"] for v in leaks],
                [v["high"] for v in leaks],
                color=colour,
                alpha=0.18,
                lw=0,
            )
        axes.set_xscale("log")
        axes.set_xlabel("texts of the store that the attacker knows; 0 is drawn at 1")
        axes.set_ylim(0, 1.03)
        fig.legend(loc="outside upper left", ncols=3, handlelength=1.2, fontsize=9)
        picture = charts.svg(fig, "known")
    return Figure(
        f"{LABELS[measure]} by what is known", "Means; bands are 95 % intervals.", svg=picture
    )


def _protection(table: Mapping[str, Any]) -> Table:
    """Defences with what is read through them and what search keeps."""
    rows = [
        [
            row["defence"],
            row["strength"],
            f"{LABELS[row['measure']]} {_cell(row['leak'], True)}",
            f"{row['overlap']:.0%}",
        ]
        for row in table["protection"]
    ]
    caption = (
        f"The linear reader who knows {max(table['known']):,} texts with their protected vectors. Search:"
        " share of the ten nearest rows that a row's own text still finds. A defence that this reader"
        " does not pass may give way to another."
    )
    if not any(row["leak"]["found"] for row in table["protection"][:1]):
        caption += (
            " He reads nothing above chance of the unprotected vectors (first row), so the table says"
            " nothing of what a defence protects."
        )
    return Table(
        "What a defence would protect and cost",
        ["defence", "strength", "read / chance", "search kept"],
        rows,
        caption,
    )


def _examples(table: Mapping[str, Any]) -> Marked:
    """Some rows: the texts where they may be shown, else a square a word, filled where it was read."""
    paragraphs: list[list[Span]] = []
    for example in table["examples"]:
        original = example["original"]
        if table["shown"]:
            paragraphs.append([Span(f"row {example['row']}: "), Span(original)])
        for who, text in example["read"].items():
            shown = text if table["shown"] else squares(original, text)
            paragraphs.append([Span(f"row {example['row']}, {who}: "), Span(shown)])
    caption = (
        "Drawn at random."
        if table["shown"]
        else f"A square a word of the original: {READ} where the reader has it. --show-texts shows the texts."
    )
    return Marked("Examples", paragraphs, caption)


def squares(original: str, text: str) -> str:
    """A square for every word of the original, filled where the recovered text has that word."""
    read = set(units(text))
    return " ".join(READ if w in read else HIDDEN for w in units(original))
