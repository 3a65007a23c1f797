"""From what a run measured to metrics, warnings, curves and the lines of the terminal."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import torch

from kdst_adapt import measures
from kdst_adapt.measures import READINGS, Trace
from kdst_adapt.streams.shift import Shift

SAME = [measures.CONFIDENCE, measures.CORRECT, measures.NLL]
"""Columns in which two methods agree that give the same probabilities."""
ROUNDING = 1e-4
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


def equals_norm(traces: Mapping[str, Trace], method: str, *, continual: bool = False) -> bool:
    """Return whether a method updates, yet each of its predictions came before any update.

    So it is with one batch a stream and the reading before the update, where norm gives the same: a
    difference cannot exist. continual: whether a stream goes on with what was learnt on another.
    """
    ours = traces[method]
    single = all(len(batches) == 1 for batches in ours.records) and not continual
    before = all(torch.equal(a, b) for a, b in zip(ours.pooled(), ours.pooled(BEFORE), strict=True))
    mine = method != "norm" and ours.updates > 0 and single and before
    return mine and alike(ours, traces["norm"])


def alike(ours: Trace, theirs: Trace) -> bool:
    """Return whether two methods gave the same probabilities, up to rounding."""
    return all(
        torch.allclose(a[:, SAME], b[:, SAME], rtol=ROUNDING, atol=ROUNDING)
        for a, b in zip(ours.pooled(), theirs.pooled(), strict=True)
    )


def twin(traces: Mapping[str, Trace], method: str) -> str:
    """Return the baseline that gave the same probabilities as a method, '' where none did."""
    found = (b for b in ("norm", "source") if b != method and alike(traces[method], traces[b]))
    return next(found, "")


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
    found["cost_memory_mb"] = trace.memory / 2**20
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
