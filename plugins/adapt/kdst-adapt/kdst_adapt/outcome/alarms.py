"""Alarms: what a reader of a run's figures must know."""

from collections.abc import Mapping, Sequence

import torch

from kdst_adapt import measures
from kdst_adapt.measures import Trace, near_chance
from kdst_adapt.streams.shift import Shift

COLLAPSED = 0.95
"""Share of one class among the predictions of a stream from which on they count as collapsed."""
SELDOM = 0.1
"""Share of batches with an update below which a method hardly adapts."""
SMALL_BATCH = 16
"""Batches smaller than this give BatchNorm poor statistics."""
ONLY_UPDATE = "{} predicts before its only update of a stream, so it cannot differ from norm."
"""Said in place of a difference that cannot exist."""
KEPT, RESETS = "share kept", "resets"
"""Scalars by which a method tells what its filter kept of a batch, and how often it reset itself."""


def chance(traces: Mapping[str, Trace], classes: int) -> list[str]:
    """Return an alarm where every method of a run, source too, is near chance on all streams together."""
    shares = []
    for trace in traces.values():
        correct = torch.cat(trace.pooled())[:, measures.CORRECT]
        if not near_chance(int(correct.sum()), len(correct), 1 / classes):
            return []
        shares.append(f"{correct.mean():.1%}")
    names = ", ".join(traces)
    return [
        f"All of {names} are near chance ({1 / classes:.1%}): {', '.join(shares)} right. Labels, the order"
        " of the classes, --mean and --std, or the weights may be wrong."
    ]


def warnings(
    trace: Trace,
    shifts: Sequence[Shift],
    method: str,
    *,
    updates: bool,
    batch_norm: bool,
    largest: int,
    twin: str,
) -> list[str]:
    """Return the alarms of a run as sentences.

    updates: whether the method is meant to update parameters. batch_norm: whether it takes BatchNorm
    statistics of batches. largest: images that it is given at once. twin: the baseline with the same
    predictions, '' without one.
    """
    found = _updates(trace, method, twin) if updates else []
    found += [
        text for number, s in enumerate(shifts) for text in _predictions(trace, number, s, method)
    ]
    if batch_norm and largest < SMALL_BATCH:
        found.append(
            f"BatchNorm takes its statistics from only {largest} images at a time; give --window 64 or"
            " a larger --batch-size."
        )
    return found


def _updates(trace: Trace, method: str, twin: str) -> list[str]:
    """Return alarms about updates, filter and resets."""
    found, batches = [], len(trace.seconds)
    if trace.updates == 0:
        same = f"; its predictions are those of {twin}" if twin else ""
        found.append(f"{method} made no update at all{same}.")
    elif trace.updates < SELDOM * batches:
        found.append(f"{method} made updates in only {trace.updates} of {batches} batches.")
    kept = trace.scalars.get(KEPT, [])
    if kept and max(kept) == 0:
        found.append(
            f"{method}'s filter dropped every image; its threshold may not suit these data."
        )
    if kept and min(kept) == 1:
        found.append(
            f"{method}'s filter never dropped an image; its threshold may not suit these data."
        )
    resets = int(sum(trace.scalars.get(RESETS, [])))
    if resets > 1:
        found.append(f"{method} reset itself {resets} times in {batches} batches.")
    return found


def _predictions(trace: Trace, number: int, shift: Shift, method: str) -> list[str]:
    """Return alarms about the predictions on one stream."""
    found = []
    classes = torch.cat(trace.shift(number))[:, measures.CLASS].long()
    broken = int((classes < 0).sum())
    if broken:
        found.append(
            f"{method} returned NaN or infinite logits for {broken} images of {shift.key}."
        )
    share = _largest_share(classes)
    truth = _largest_share(torch.as_tensor(shift.labels.astype("int64")))
    if share >= COLLAPSED and truth < COLLAPSED:
        found.append(
            f"{method}'s predictions collapse to one class on {shift.key}"
            f" ({share:.0%} of them, {truth:.0%} of the labels)."
        )
    return found


def _largest_share(classes: torch.Tensor) -> float:
    """Return the share of the commonest class."""
    return torch.unique(classes, return_counts=True)[1].max().item() / len(classes)
