"""The figures of a comparison: accuracy against cost, heat map, curves along the stream, calibration."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kdst_adapt.compare.pairing import stream_label
from kdst_batch.comparable import Contender
from kdst_core.errors import KdstError
from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure, Stat

LINES: tuple[tuple[Any, str, int], ...] = (
    ("-", "o", 3),
    ((0, (4, 2)), "s", 4),
    ((0, (1, 1.5)), "^", 5),
)
"""Dashes, points and their size: more methods than colours can be told apart, in the legend too."""
WINDOW = 1.5
"""Points below the best from which on methods are drawn at the lower edge of the axis."""
ALMOST = 0.5
"""Points below the most accurate method that count as nearly as good."""
AROUND = [(0.03, 0.0)] + [
    (dx, sign * dy)
    for dy in (0.05, 0.09, 0.13, 0.18, 0.24)
    for dx in (0.03, 0.08)
    for sign in (1, -1)
]
"""Where a name may stand from its point, in parts of the axes: beside it, then further off."""
NEAR = 2.0
"""Points below the best of a column at which its shade ends."""


def stats(contenders: Sequence[Contender]) -> list[Stat]:
    """Return the best method, and the cheapest that is nearly as good, by their names."""
    ranked = sorted(contenders, key=lambda c: -_metric(c, "accuracy.mean"))
    top = ranked[0]
    near = [c for c in ranked if _points(c) >= _points(top) - ALMOST]
    cheap = min(near, key=lambda c: _metric(c, "cost_x_source")) if _timed(near) else top
    found = [_stat("most accurate", top, strong=True)]
    if cheap is not top:
        gap = f", {_points(top) - _points(cheap):.2f} points below the best"
        found.append(_stat(f"cheapest within {ALMOST:g} points", cheap, gap))
    known = {c.label: c for c in contenders}
    return found + [
        _stat("baseline", known[n])
        for n in ("norm", "source")
        if n in known and known[n] not in (top, cheap)
    ]


def _stat(what: str, who: Contender, more: str = "", *, strong: bool = False) -> Stat:
    """Return a method with its accuracy and cost."""
    cost = f" at {_metric(who, 'cost_x_source'):.1f}× the time of source" if _timed([who]) else ""
    note = f"{_points(who):.1f} % mean accuracy{cost}{more}"
    return Stat(what, who.label, note, strong=strong)


def _metric(who: Contender, name: str) -> float:
    """Return the mean of a metric over seeds; NaN where it could not be told."""
    values = [r["metrics"][name] for r in who.results]
    return math.nan if None in values else sum(values) / len(values)


def _timed(contenders: Sequence[Contender]) -> bool:
    """Return whether enough batches were timed of every method to tell its cost."""
    return not any(math.isnan(_metric(c, "cost_x_source")) for c in contenders)


def _points(who: Contender) -> float:
    """Return mean accuracy in percent."""
    return 100 * _metric(who, "accuracy.mean")


def figures(contenders: Sequence[Contender]) -> list[Figure]:
    """Return all figures."""
    curves = {c.label: [_curves(c, n) for n in range(len(c.results))] for c in contenders}
    return [
        *([_frontier(contenders)] if _timed(contenders) else []),
        _heat_map(contenders),
        _stream(curves),
        _reliability(curves),
    ]


def _curves(who: Contender, number: int) -> dict[str, Any]:
    """Return the curves of one run of a method."""
    path = who.directories[number] / "artifacts" / "curves.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise KdstError(f"cannot read {path}, which a comparison needs: {e}") from e
    mine: dict[str, Any] = content["methods"][who.results[number]["method"]]
    return mine


def _frontier(contenders: Sequence[Contender]) -> Figure:
    """Accuracy against cost, with the line of those that no cheaper method beats."""
    points = [(_metric(c, "cost_x_source"), _points(c), c.label) for c in contenders]
    top = max(y for _, y, _ in points)
    lowest = min(y for _, y, _ in points if y >= top - WINDOW)
    span = max(top - lowest, 0.2)
    floor = lowest - 0.35 * span
    ordered = sorted(points, key=lambda p: (p[0], -p[1]))
    best = [p for n, p in enumerate(ordered) if all(p[1] > q[1] for q in ordered[:n])]
    seen = [p for p in best if p[1] >= floor]
    with charts.figure(4.8, 3.8) as (fig, axes):
        axes.set_xscale("log")
        axes.plot(
            [p[0] for p in seen], [p[1] for p in seen], color=charts.SERIES[2], lw=1.5, zorder=1
        )
        for x, y, name in points:
            leading = any(name == p[2] for p in best)
            colour = charts.SERIES[2] if leading else charts.MUTED
            below = y < floor
            axes.plot([x], [floor if below else y], "v" if below else "o", color=colour, ms=7)
        low, high = min(p[0] for p in points), max(p[0] for p in points)
        axes.set_xlim(low / 1.5, high * 4)
        ticks = [t for t in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if low / 1.5 <= t <= high * 4]
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.minorticks_off()
        axes.set_ylim(floor - 0.1 * span, top + 0.15 * span)
        _names(axes, points, floor, {p[2] for p in best})
        axes.set_xlabel("cost of a batch, times source (log)")
        axes.set_ylabel("mean accuracy, %")
        picture = charts.svg(fig, "frontier")
    caption = "The line joins the methods that none at the same or lower cost beats."
    if any(y < floor for _, y, _ in points):
        caption += " Triangles lie below the axis, at the number beside them."
    return Figure("Accuracy against cost", caption, svg=picture)


def _names(
    axes: Any, points: Sequence[tuple[float, float, str]], floor: float, leading: set[str]
) -> None:
    """Write each method's name where it covers neither a point nor another name.

    A thin line joins a name with its point where it does not stand beside it.
    """
    (left, right), (bottom, top) = map(math.log, axes.get_xlim()), axes.get_ylim()
    places = {
        name: ((math.log(x) - left) / (right - left), (max(y, floor) - bottom) / (top - bottom))
        for x, y, name in points
    }
    taken = [(x - 0.015, y - 0.02, x + 0.015, y + 0.02) for x, y in places.values()]
    for _, y, name in sorted(points, key=lambda p: -p[1]):
        text = name if y >= floor else f"{name} {y:.1f}"
        at = places[name]
        for dx, dy in AROUND:
            box = _box(at[0] + dx, at[1] + dy, text)
            inside = box[1] >= 0 and box[2] <= 1
            if inside and not any(_overlap(box, other) for other in taken):
                break
        taken.append(_box(at[0] + dx, at[1] + dy, text))
        line = {"arrowstyle": "-", "color": charts.MUTED, "lw": 0.6} if dy else None
        axes.annotate(
            text, at, (at[0] + dx, at[1] + dy), "axes fraction", "axes fraction", line,
            va="center", fontsize=9, fontweight="bold" if name in leading else "normal",
        )  # fmt: skip


def _box(x: float, y: float, text: str) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of a name that stands right of (x, y)."""
    return x, y - 0.03, x + 0.019 * len(text), y + 0.03


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Return whether two boxes have a common point."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _heat_map(contenders: Sequence[Contender]) -> Figure:
    """Accuracy of each method on each stream; several severities of a type become their mean."""
    types: dict[str, list[str]] = {}
    shifts = contenders[0].results[0]["input"]["shifts"]
    severities = {s.rpartition(".")[2] for s in shifts}
    for shift in shifts:
        name = (
            stream_label(shift)
            if len(severities) == 1
            else shift.rpartition(".")[0].replace("_", " ")
        )
        types.setdefault(name, []).append(shift)
    values = [
        [
            100 * sum(_metric(c, f"accuracy.{s}") for s in group) / len(group)
            for group in types.values()
        ]
        for c in contenders
    ]
    width = max(4.8, 1.1 + 0.62 * len(types))
    with charts.figure(width, 1.3 + 0.3 * len(contenders)) as (fig, axes):
        from matplotlib.patches import Rectangle

        for column in range(len(types)):
            best = max(v[column] for v in values)
            for row, line in enumerate(values):
                shade = max(0.0, 1 - (best - line[column]) / NEAR)
                box = Rectangle(
                    (column, row), 0.96, 0.94, facecolor=charts.SERIES[1], alpha=0.55 * shade
                )
                axes.add_patch(box)
                strong = "bold" if f"{line[column]:.1f}" == f"{best:.1f}" else "normal"
                axes.text(
                    column + 0.48,
                    row + 0.49,
                    f"{line[column]:.1f}",
                    ha="center",
                    va="center",
                    fontsize=9,
                    fontweight=strong,
                )
        axes.set_xlim(0, len(types))
        axes.set_ylim(len(contenders), 0)
        axes.set_xticks([k + 0.48 for k in range(len(types))], list(types), rotation=30, ha="right")
        axes.set_yticks([k + 0.47 for k in range(len(contenders))], [c.label for c in contenders])
        axes.tick_params(length=0)
        axes.grid(visible=False)
        for side in axes.spines.values():
            side.set_visible(False)
        picture = charts.svg(fig, "heat")
    caption = (
        f"Accuracy in %. Shaded: within {NEAR:g} points of the best of the column, which is bold."
    )
    if len(severities) > 1:
        caption += f" Mean over severities {', '.join(sorted(severities))}."
    return Figure("Accuracy by corruption", caption, svg=picture)


def _style(number: int) -> dict[str, Any]:
    """Return colour, line style and points of a method."""
    again, colour = divmod(number, len(charts.SERIES))
    dashes, marker, size = LINES[again % len(LINES)]
    return {"color": charts.SERIES[colour], "ls": dashes, "marker": marker, "ms": size}


def _stream(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Accuracy along the stream, averaged over streams and seeds."""
    lines = {name: _along(runs) for name, runs in curves.items()}
    with charts.figure(4.8, 3.6) as (fig, axes):
        top = max(max(line) for line in lines.values())
        near = {n: line for n, line in lines.items() if max(line) > top - 10 * WINDOW}
        for number, (name, line) in enumerate(lines.items()):
            if name in near:
                axes.plot(range(1, len(line) + 1), line, label=name, **_style(number))
        axes.set_xlabel("batch of the stream")
        axes.set_ylabel("accuracy, %")
        axes.xaxis.get_major_locator().set_params(integer=True)
        fig.legend(loc="outside upper left", ncols=4, handlelength=2, fontsize=9)
        picture = charts.svg(fig, "stream")
    caption = "Mean over streams and seeds of each batch's accuracy, in the order of the stream."
    left = [n for n in lines if n not in near]
    if left:
        caption += f" Left out, far below: {', '.join(left)}."
    return Figure("Accuracy along the stream", caption, svg=picture)


def _along(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the mean accuracy in percent of each batch over the streams of all runs."""
    streams = [s for run in runs for s in run["accuracy"]]
    length = min(map(len, streams))
    return [100 * sum(s[k] for s in streams) / len(streams) for k in range(length)]


def _reliability(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Reliability diagrams of all methods."""
    with charts.figure(4.8, 3.9) as (fig, axes):
        axes.plot([0, 1], [0, 1], color=charts.MUTED, lw=1, ls=(0, (4, 3)))
        for number, (name, runs) in enumerate(curves.items()):
            bins = runs[0]["reliability"]
            kept = [k for k, n in enumerate(bins["counts"]) if n]
            x, y = ([bins[key][k] for k in kept] for key in ("confidence", "accuracy"))
            axes.plot(x, y, label=name, **_style(number))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        fig.legend(loc="outside upper left", ncols=4, handlelength=2, fontsize=9)
        picture = charts.svg(fig, "reliability")
    caption = (
        "Ten bins of confidence over all streams of the first seed; below the dashed line a method is"
        " over-confident."
    )
    return Figure("Calibration", caption, svg=picture)
