"""What was kept against what was done of what was asked: a point a method and setting."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from attrs import frozen

from kdst_batch.comparable import Contender
from kdst_batch.statistics import normal_interval, wilson
from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure
from kdst_edit.compare.edits import MEASURE, Edited, Gains, edits_of, standard_error, values

SHOWN = {"success": ("success, %", 100.0), "mask_iou": ("IoU of source and edit", 1.0)}
"""What an edit is judged by besides what it kept, the first that every run has."""
MARKS = "os^DvP"


@frozen
class Share:
    """A mean with the bounds of its 95 % interval, NaN where one number cannot tell them."""

    mean: float
    low: float = math.nan
    high: float = math.nan

    def reach(self, scale: float = 1.0) -> list[list[float]]:
        """Return how far the interval reaches below and above the mean, as error bars are given."""
        sides = self.mean - self.low, self.high - self.mean
        return [[scale * max(side, 0.0)] for side in sides]


@frozen
class Point:
    """A method and setting: what it kept, in dB, and what it did of what was asked."""

    label: str
    kept: Share
    done: Share

    def beaten(self, other: "Point") -> bool:
        """Return whether another is no worse in both and better in one."""
        ours, theirs = (self.kept.mean, self.done.mean), (other.kept.mean, other.done.mean)
        return ours != theirs and all(b >= a for a, b in zip(ours, theirs, strict=True))


def asked(contenders: Sequence[Contender]) -> str | None:
    """Return the name of what edits are judged by besides what they kept; None where there is none."""
    metrics = [result["metrics"] for who in contenders for result in who.results]
    return next((name for name in SHOWN if all(name in m for m in metrics)), None)


def average(who: Contender, name: str) -> float:
    """Return the mean of a metric over seeds; NaN where it could not be told."""
    found = [result["metrics"][name] for result in who.results]
    return math.nan if None in found else fmean(found)


def first_of(contenders: Sequence[Contender], name: str) -> tuple[str, float]:
    """Return who has the highest mean of a metric, all that tie, and that mean."""
    found = {who.label: average(who, name) for who in contenders}
    told = [mean for mean in found.values() if math.isfinite(mean)]
    if not told:
        return "none could be told", math.nan
    best = max(told)
    return ", ".join(label for label, mean in found.items() if mean == best), best


def points(contenders: Sequence[Contender], other: str) -> list[Point]:
    """Return a point for each method, and one for sampling without control where it was measured."""
    found = [_point(who.label, who, edits_of(who), other) for who in contenders]
    first, names = contenders[0], (f"plain.{MEASURE}", f"plain.{other}")
    if all(name in result["metrics"] for name in names for result in first.results):
        found.append(_point("without control", first, edits_of(first), other, plain=True))
    return found


def _point(
    label: str, who: Contender, edits: list[list[Edited]], other: str, plain: bool = False
) -> Point:
    prefix = "plain." if plain else ""
    kept, done = values(edits, MEASURE, plain), values(edits, other, plain)
    rate = other == "success"
    return Point(
        label,
        _share(average(who, prefix + MEASURE), kept),
        _share(average(who, prefix + other), done, rate=rate),
    )


def _share(mean: float, found: Gains | None, *, rate: bool = False) -> Share:
    """Return a mean with its interval: Wilson's for a rate, else of the error over seeds and targets."""
    if found is None or not math.isfinite(mean):
        return Share(mean)
    if rate:
        count = sum(map(len, found))
        return Share(mean, *wilson(sum(map(sum, found)), count))
    error = standard_error(found)
    return Share(mean, *normal_interval(mean, error)) if math.isfinite(error) else Share(mean)


def unbeaten(found: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in both, by what they kept."""
    told = [p for p in found if math.isfinite(p.kept.mean) and math.isfinite(p.done.mean)]
    best = [p for p in told if not any(p.beaten(other) for other in told)]
    return sorted(best, key=lambda p: p.kept.mean)


def picture(found: Sequence[Point], other: str) -> Figure:
    """Return the points with their intervals, and a line along those that none beats."""
    label, scale = SHOWN[other]
    with charts.figure(5.4, 3.6) as (fig, axes):
        best = unbeaten([p for p in found if p.label != "without control"])
        line = [p.kept.mean for p in best], [scale * p.done.mean for p in best]
        axes.plot(*line, color=charts.MUTED, lw=1, ls=":", zorder=1)
        for number, point in enumerate(found):
            _draw(axes, point, number, scale)
        axes.set_xlabel("outside the region, dB")
        axes.set_ylabel(label)
        if other == "success":
            axes.set_ylim(-4, 104)
        fig.legend(loc="outside upper left", ncols=3, handlelength=1.2, fontsize=9)
        drawn = charts.svg(fig, "kept")
    caption = (
        "Means over targets and seeds with 95 % intervals: outside the region by the error over both,"
        " success by Wilson's score; none for a single edit. Dotted: methods that no other beats in"
        " both. An edit that changes nothing keeps everything."
    )
    return Figure("What was kept, and what was asked", caption, svg=drawn)


def _draw(axes: Any, point: Point, number: int, scale: float) -> None:
    """Draw a point with its intervals."""
    free = point.label == "without control"
    series = len(charts.SERIES) - 1
    axes.errorbar(
        [point.kept.mean],
        [scale * point.done.mean],
        xerr=point.kept.reach() if math.isfinite(point.kept.low) else None,
        yerr=point.done.reach(scale) if math.isfinite(point.done.low) else None,
        fmt="x" if free else MARKS[number // series % len(MARKS)],
        color=charts.MUTED if free else charts.SERIES[1 + number % series],
        elinewidth=1,
        label=point.label,
    )
