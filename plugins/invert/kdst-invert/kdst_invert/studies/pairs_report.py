"""The report of the curve over known pairs: a picture and a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure, Table


def known_pairs(points: Sequence[Mapping[str, Any]]) -> list[Figure | Table]:
    """Token F1 over the number of pairs that the attacker knows, a line a defence; then what is read with
    texts of his own besides."""
    helped = [point for point in points if point.get("own")]
    points = [point for point in points if not point.get("own")]
    counts = sorted({point["pairs"] for point in points})
    if len(counts) < 2:
        return []
    lines = {f"{point['defence']} {point['strength']}": _line(points, point) for point in points}
    blocks: list[Figure | Table] = [
        _figure(lines, counts),
        _table(lines, counts, points[0]["attacked"]),
    ]
    return [*blocks, _with_own(helped)] if helped else blocks


def _with_own(points: Sequence[Mapping[str, Any]]) -> Table:
    """Token F1 and names of who has pairs and other texts."""
    measures = list(points[0]["leakage"])
    rows = [
        [f"{p['defence']} {p['strength']}", f"{p['pairs']}", f"{p['own']:,}"]
        + [_cell(p["leakage"][name]) for name in measures]
        for p in points
    ]
    caption = (
        f"Over {points[0]['attacked']} texts, with a wider search; the own texts are of the same kind, and"
        " he protected them himself where the defence is no secret."
    )
    header = ["defence", "pairs", "own texts", *measures]
    return Table("Known pairs and texts of one's own", header, rows, caption)


def _line(
    points: Sequence[Mapping[str, Any]], one: Mapping[str, Any]
) -> dict[int, Sequence[float]]:
    """Token F1 with its interval by number of pairs, of the defence and strength of a point."""
    kind = (one["defence"], one["strength"])
    mine = [p for p in points if (p["defence"], p["strength"]) == kind]
    return {p["pairs"]: p["leakage"]["token_f1"] for p in mine}


def _figure(lines: Mapping[str, Mapping[int, Sequence[float]]], counts: Sequence[int]) -> Figure:
    """One line a defence."""
    marks = ("o", "s", "^", "v", "D", "x")
    with charts.figure(6.4, 4.6) as (fig, axes):
        for number, (label, line) in enumerate(lines.items()):
            colour = charts.SERIES[(number + 1) % len(charts.SERIES)]
            x = [counts.index(count) for count in line]
            mark = marks[number // len(charts.SERIES) % len(marks)]
            axes.plot(
                x, [v[0] for v in line.values()], color=colour, marker=mark, ms=4, label=label
            )
        axes.set_xticks(range(len(counts)), [f"{count:,}" for count in counts])
        axes.set_xlabel("known pairs of a text and its stored vector")
        axes.set_ylabel("token F1")
        axes.set_ylim(0, 1.03)
        fig.legend(loc="outside upper left", ncols=3, handlelength=1.2, fontsize=8)
        picture = charts.svg(fig, "pairs")
    caption = (
        "What is read by an attacker who knows the defence and so many pairs, and nothing else: a narrow"
        " search over a few texts, so lower than in the table of defences."
    )
    return Figure("Known pairs", caption, svg=picture, wide=True)


def _table(
    lines: Mapping[str, Mapping[int, Sequence[float]]], counts: Sequence[int], attacked: int
) -> Table:
    """Token F1 with intervals."""
    rows = [
        [label, *(_cell(line[count]) if count in line else "–" for count in counts)]
        for label, line in lines.items()
    ]
    header = ["defence", *(f"{count:,} pairs" for count in counts)]
    caption = f"Token F1 over {attacked} texts and its 95 % interval, chance not subtracted."
    return Table("Token F1 by known pairs", header, rows, caption)


def _cell(found: Sequence[float]) -> str:
    """Value and interval."""
    return f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})"
