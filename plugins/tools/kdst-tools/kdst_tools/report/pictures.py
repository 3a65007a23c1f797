"""The charts of a report: exact match, gains, precision and recall, losses of finetuning."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure
from kdst_tools.evaluation.filtering import Quality

CONTESTANTS = {
    "no_tool": "untouched, no tool",
    "before": "before, with tools",
    "after": "finetuned, with tools",
    "disabled": "finetuned, calls forbidden",
    "shipped": "shipped, with tools",
    "rejection": "rejection sampling, with tools",
}
"""The models of an evaluation in the order of the report, and what they are called there."""


def exact_match(metrics: Mapping[str, float], problems: int) -> Figure:
    """Bars of exact match with 95 % intervals."""
    names = [name for name in CONTESTANTS if f"exact.{name}" in metrics]
    values = [metrics[f"exact.{name}"] for name in names]
    below = [
        value - metrics[f"exact.{name}.low"] for name, value in zip(names, values, strict=True)
    ]
    above = [
        metrics[f"exact.{name}.high"] - value for name, value in zip(names, values, strict=True)
    ]
    with charts.figure() as (fig, axes):
        rows = range(len(names))
        colours = [charts.SERIES[2 if name == "after" else 0] for name in names]
        axes.barh(rows, values, color=colours, height=0.62)
        axes.errorbar(values, rows, xerr=[below, above], fmt="none", ecolor=charts.INK, capsize=3)
        for row, (value, high) in enumerate(zip(values, above, strict=True)):
            left = value + high > 0.85
            place = value - max(below[row], 0) - 0.02 if left else value + high + 0.02
            axes.text(place, row, f"{value:.1%}", va="center", ha="right" if left else "left")
        axes.set_yticks(rows, [CONTESTANTS[name] for name in names])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.02)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("exact match")
        svg = charts.svg(fig, "exact")
    caption = f"Share of {problems} held-out problems answered exactly, with 95 % intervals."
    return Figure("Exact match", caption, svg=svg)


def gains(
    gains: Sequence[float],
    helping: Sequence[bool] | None,
    thresholds: Sequence[float],
    bounds: bool = False,
) -> Figure:
    """Histogram of the gains of all scored calls, in nats, with the thresholds.

    bounds: whether some are only the most that they can be.
    """
    import numpy as np

    edges = np.linspace(-3.0, 3.0, 49)
    values = np.clip(np.asarray(gains, dtype=float), edges[0], edges[-1])
    helps = np.zeros(len(values), bool) if helping is None else np.asarray(helping, bool)
    with charts.figure() as (fig, axes):
        groups = [("calls", values[~helps], charts.SERIES[0])]
        if helping is not None:
            groups = [
                ("do not help", values[~helps], charts.SERIES[0]),
                ("help", values[helps], charts.SERIES[3]),
            ]
        axes.hist(
            [group for _, group, _ in groups], edges, stacked=True, label=[n for n, _, _ in groups],
            color=[colour for _, _, colour in groups],
        )  # fmt: skip
        for threshold in thresholds:
            axes.axvline(threshold, color=charts.INK, linewidth=1.2)
        axes.set_xlabel("gain $L^- - L^+$, nats")
        axes.set_ylabel("scored calls")
        if helping is not None:
            axes.legend(loc="upper left")
        svg = charts.svg(fig, "gains")
    caption = (
        "How much a call with its result lowers the weighted loss of the five tokens that follow it, "
        "against the better of no call and a call without result. What lies beyond the ends is "
        "counted in the outermost bars; lines are thresholds τ_f."
    )
    if bounds:
        caption += " Where the loss of the call alone was left out, it is the most the gain can be."
    return Figure("Gains", caption, svg=svg)


def precision_recall(found: Sequence[Quality], thresholds: Sequence[float]) -> Figure:
    """Precision and recall of the filter over its threshold."""
    taus = [quality.tau_f for quality in found]
    with charts.figure() as (fig, axes):
        for label, series, values in (
            ("precision", 1, [quality.precision for quality in found]),
            ("recall", 2, [quality.recall for quality in found]),
        ):
            axes.plot(taus, values, color=charts.SERIES[series], label=label)
        for threshold in thresholds:
            axes.axvline(threshold, color=charts.INK, linewidth=1.2)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("threshold τ_f, nats")
        axes.legend(loc="lower left")
        svg = charts.svg(fig, "precision")
    caption = (
        "Of the calls kept, the share that helps, and of those that help, the share kept. A call "
        "helps when its result is what the text says next, which is known for generated texts."
    )
    return Figure("The filter over its threshold", caption, svg=svg)


def training(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss of finetuning, step after step, one line a round."""
    with charts.figure() as (fig, axes):
        rounds = sorted({row["round"] for row in rows})
        for number in rounds:
            own = [row for row in rows if row["round"] == number]
            colour = charts.SERIES[1 + (number - 1) % (len(charts.SERIES) - 1)]
            steps = [row["step"] for row in own]
            axes.plot(steps, smooth([row["loss"] for row in own]), color=colour,
                      label=f"round {number}")  # fmt: skip
        axes.set_xlabel("step")
        axes.set_ylabel("loss, nats a token")
        if len(rounds) > 1:
            axes.legend()
        svg = charts.svg(fig, "training")
    return Figure("Finetuning", "Loss on the texts with their kept calls, smoothed.", svg=svg)


def smooth(losses: Sequence[float], keep: float = 0.9) -> list[float]:
    """Return an exponential moving average that starts without bias."""
    mean, weight, found = 0.0, 0.0, []
    for loss in losses:
        mean, weight = keep * mean + (1 - keep) * loss, keep * weight + (1 - keep)
        found.append(mean / weight)
    return found
