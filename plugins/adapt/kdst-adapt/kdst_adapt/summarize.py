"""From what a run measured to metrics, warnings, curves and the lines of the terminal."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import torch

from kdst_adapt import measures
from kdst_adapt.alarms import ONLY_UPDATE
from kdst_adapt.data import Shift
from kdst_adapt.protocol import READINGS, Trace

BEFORE = READINGS.index("before_update.")
TIMED, WARM_UP = 10, 2
"""Batches that must be timed before a cost means something, and those before which are not counted."""


def metrics(
    traces: Mapping[str, Trace], shifts: Sequence[Shift], method: str
) -> dict[str, float | None]:
    """Return the flat metrics of a run: the method's, and under `baseline.` both baselines'."""
    found: dict[str, float | None] = {**_of_trace(traces[method], traces["source"], shifts)}
    for name in ("source", "norm"):
        for key, value in _of_trace(traces[name], traces["source"], shifts).items():
            found[f"baseline.{name}.{key}"] = value
        gap, low, high = measures.paired_difference(traces[method].pooled(), traces[name].pooled())
        found[f"difference.{name}.accuracy.mean"] = gap
        found[f"difference.{name}.accuracy.low"] = low
        found[f"difference.{name}.accuracy.high"] = high
    return found


def cost(trace: Trace, source: Trace) -> float | None:
    """Return the median time of a batch over that of source, after the warm-up.

    None where fewer than ten batches were timed.
    """
    ours, theirs = trace.seconds[WARM_UP:], source.seconds[WARM_UP:]
    if min(len(ours), len(theirs)) < TIMED:
        return None
    return median(ours) / max(median(theirs), 1e-9)


def equals_norm(traces: Mapping[str, Trace], method: str) -> bool:
    """Return whether a method updates, yet each of its predictions came before any update.

    So it is with one batch a stream and the reading before the update: a difference cannot exist. Where
    the logits come after updates, equal hits are chance.
    """
    ours, norm = traces[method], traces["norm"]
    single = all(len(batches) == 1 for batches in ours.records)
    same = all(
        torch.equal(a[:, measures.CORRECT], b[:, measures.CORRECT])
        for a, b in zip(ours.pooled(), norm.pooled(), strict=True)
    )
    before = all(torch.equal(a, b) for a, b in zip(ours.pooled(), ours.pooled(BEFORE), strict=True))
    return method != "norm" and ours.updates > 0 and single and before and same


def _of_trace(trace: Trace, source: Trace, shifts: Sequence[Shift]) -> dict[str, float | None]:
    """Return the metrics of one method."""
    found: dict[str, float | None] = {}
    for reading, prefix in enumerate(READINGS):
        by_shift = [measures.shift_metrics(trace.shift(k, reading)) for k in range(len(shifts))]
        for name in by_shift[0]:
            found[f"{prefix}{name}.mean"] = sum(m[name] for m in by_shift) / len(by_shift)
        for shift, of_shift in zip(shifts, by_shift, strict=True):
            for name, value in of_shift.items():
                found[f"{prefix}{name}.{shift.key}"] = value
    found["seconds_per_batch"] = median(trace.seconds)
    found["cost_x_source"] = cost(trace, source)
    found["updates"] = float(trace.updates)
    return found


def curves(
    traces: Mapping[str, Trace], shifts: Sequence[Shift], names: Sequence[str]
) -> dict[str, Any]:
    """Return what the report draws: accuracy by batch, reliability, energies, scalars."""
    return {
        "shifts": [s.key for s in shifts],
        "methods": {name: _curve(traces[name], len(shifts)) for name in names},
    }


def _curve(trace: Trace, count: int) -> dict[str, Any]:
    """Return the curves of one method."""
    pooled = torch.cat(trace.pooled())
    bins = measures.reliability(pooled)
    return {
        "accuracy": [[measures.accuracy(b) for b in trace.shift(k)] for k in range(count)],
        "energy": [p[:, measures.ENERGY].mean().item() for p in trace.pooled()],
        "reliability": {
            "counts": bins.counts,
            "confidence": bins.confidence,
            "accuracy": bins.accuracy,
        },
        "scalars": trace.scalars,
    }


def lines(
    found: Mapping[str, Any], shifts: Sequence[Shift], names: Sequence[str], *, same: bool = False
) -> list[str]:
    """Return a table of accuracies in percent for the terminal: a row a shift, a column a method.

    same: the method cannot differ from norm, which is said in place of an interval.
    """
    method = names[-1]
    prefix = {name: "" if name == method else f"baseline.{name}." for name in names}
    rows = [*(s.key for s in shifts), "mean"]
    width = max(len(r) for r in [*rows, "accuracy, %"])
    columns = {n: max(9, len(n) + 2) for n in names}
    out = ["accuracy, %".ljust(width) + "".join(n.rjust(columns[n]) for n in names)]

    def line(label: str, key: str, scale: float = 1, form: str = "{:.2f}") -> None:
        values = [found[prefix[n] + key] for n in names]
        cells = ["–" if v is None else form.format(scale * v) for v in values]
        shown = (c.rjust(columns[n]) for c, n in zip(cells, names, strict=True))
        out.append(label.ljust(width) + "".join(shown))

    for row in rows:
        line(row, f"accuracy.{row}", 100)
    line("ECE, %", "ece.mean", 100)
    line("NLL, nats", "nll.mean")
    line("cost", "cost_x_source", form="{:.1f}x")
    if same:
        out.append(ONLY_UPDATE.format(method))
    elif method != "norm":
        gap, low, high = (
            100 * found[f"difference.norm.accuracy.{k}"] for k in ("mean", "low", "high")
        )
        out.append(f"{method} - norm: {gap:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}")
    return out
