"""What `kdst compare` needs of adaptation runs: columns, and a paired test on the same images."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdst_adapt.asked import order
from kdst_adapt.inputs import AdaptInputs
from kdst_batch.comparable import Column, Contender
from kdst_core.errors import KdstError

if TYPE_CHECKING:
    from kdst_adapt.measures import Trace
    from kdst_adapt.streams.stream import Stream

PROTOCOL = (
    *("data", "shifts", "images_per_shift", "image_shape", "corrupt", "model_digest", "batch_size"),
    *("order", "setting", "reset", "window", "dirichlet", "imbalance", "resize", "crop", "classes"),
    *("protocol", "walk", "amp"),
)
"""What must be equal in the inputs of results that are compared."""
UNSAID = {"protocol": "none", "amp": "no"}
"""What results of before these were inputs are taken to say."""
FEW = 6
"""Up to this number of streams the terminal shows the accuracy of each."""


def seeded(inputs: AdaptInputs) -> bool:
    """Return whether the seed changes the stream that a method is fed."""
    random = (
        inputs.setting in ("mixed", "changing")
        or inputs.dirichlet is not None
        or inputs.imbalance is not None
    )
    return inputs.data == "digits" or bool(inputs.corrupt) or order(inputs) != "stored" or random


def pack(trace: "Trace", stream: "Stream") -> bytes:
    """Return which images were right, as an npz file: `correct` of all streams, and their `lengths`.

    The images of each stream stand in the order of the data, whatever the order of the stream.
    """
    from kdst_adapt.measures import CORRECT

    parts = []
    for number, shift in enumerate(stream.shifts):
        rows = np.concatenate(stream.rows(shift))
        records = np.concatenate([r.numpy() for r in trace.shift(number)])
        parts.append(records[np.argsort(rows), CORRECT].astype(np.uint8))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, correct=np.concatenate(parts), lengths=[len(p) for p in parts])
    return buffer.getvalue()


def unpack(directory: Path) -> list[NDArray[np.float64]]:
    """Return which images of each stream were right; KdstError when the run does not hold them."""
    path = directory / "artifacts" / "correct.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            correct, lengths = file["correct"], file["lengths"]
    except (OSError, ValueError, KeyError) as e:
        raise KdstError(f"cannot read {path}, which a comparison needs: {e}") from e
    return np.split(correct.astype(float), np.cumsum(lengths)[:-1])


def columns(result: Mapping[str, Any]) -> list[Column]:
    """Return the columns: mean accuracy, each stream, both readings, calibration, likelihood, cost."""
    shifts = result["input"]["shifts"]
    few = len(shifts) <= FEW
    each = [Column(f"accuracy.{s}", stream_label(s), 100, short=few) for s in shifts]
    return [
        Column("accuracy.mean", "accuracy, %", 100),
        *each,
        Column("before_update.accuracy.mean", "before update, %", 100, short=False),
        Column("after_update.accuracy.mean", "after update, %", 100, short=False),
        Column("ece.mean", "ECE, %", 100, better="lower", digits=1),
        Column("ece_batch.mean", "ECE by batch, %", 100, better="lower", digits=1, short=False),
        Column("nll.mean", "NLL, nats", better="lower"),
        Column("cost_x_source", "cost, × source", better="lower", digits=1),
        Column("cost_memory_mb", "memory, MiB", better="lower", digits=0),
    ]


def stream_label(shift: str) -> str:
    """Return a stream as people read it, `gaussian noise 5`."""
    name, _, severity = shift.rpartition(".")
    return name.replace("_", " ") + (f" {severity}" if severity != "0" else "")


def mismatch(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return the first part of the protocol in which two results differ, '' where they agree.

    The seed decides which images an imbalanced stream keeps, so their number may differ by seed, and
    the way of a changing one.
    """
    other = ours["seed"] != theirs["seed"]
    drawn = {"walk"} if other else set()
    if other and ours["input"].get("imbalance") is not None:
        drawn.add("images_per_shift")
    for key in PROTOCOL:
        a, b = (_comparable(key, r["input"].get(key)) for r in (ours, theirs))
        if a != b and key not in drawn:
            return f"{key} is {a} in one and {b} in the other"
    return ""


def _comparable(key: str, value: Any) -> Any:
    """Return a value of the protocol; data by kind and last name, wherever they lie, files by name."""
    if key in UNSAID:
        return value or UNSAID[key]
    if key == "classes" and value:
        return Path(value).name
    if key != "data":
        return value
    kind, _, place = str(value).partition(":")
    return ":".join(filter(None, (kind, Path(place).name)))


def paired(ours: Contender, theirs: Contender) -> tuple[float, float]:
    """Return the difference of mean accuracy and its standard error.

    Images are paired; where all streams show the same images, the error is clustered by image. To the
    error of the choice of images comes that of the seeds, by the differences from seed to seed.
    """
    mine, others = (list(map(unpack, c.directories)) for c in (ours, theirs))
    if len({tuple(map(len, run)) for run in (*mine, *others)}) > 1:
        return _by_seed(mine, others)
    gaps = [m - o for m, o in zip(_mean(mine), _mean(others), strict=True)]
    variance = _image_variance(gaps) + _seed_variance(mine, others)
    return float(np.mean([g.mean() for g in gaps])), variance**0.5


def _image_variance(gaps: list[NDArray[np.float64]]) -> float:
    """Return the variance of the mean over streams of the images' mean differences."""
    if len({len(g) for g in gaps}) == 1:
        gaps = [np.mean(gaps, axis=0)]
    return float(sum(g.var(ddof=1) / len(g) for g in gaps if len(g) > 1) / len(gaps) ** 2)


def _by_seed(
    mine: Sequence[Sequence[NDArray[np.float64]]], others: Sequence[Sequence[NDArray[np.float64]]]
) -> tuple[float, float]:
    """Return the difference and its error where each seed drew images of its own: paired within a seed."""
    if [tuple(map(len, r)) for r in mine] != [tuple(map(len, r)) for r in others]:
        raise KdstError("the runs of two methods saw different numbers of images under one seed")
    by_seed = [
        [a - b for a, b in zip(m, o, strict=True)] for m, o in zip(mine, others, strict=True)
    ]
    differences = [float(np.mean([g.mean() for g in gaps])) for gaps in by_seed]
    variance = float(np.mean([_image_variance(gaps) for gaps in by_seed]))
    return float(np.mean(differences)), (variance + _seed_variance(mine, others)) ** 0.5


def _mean(runs: Sequence[Sequence[NDArray[np.float64]]]) -> list[NDArray[np.float64]]:
    """Return the mean over seeds of which images were right, for each stream."""
    if len({tuple(map(len, r)) for r in runs}) > 1:
        raise KdstError("the runs of one method saw different numbers of images")
    return [np.mean(parts, axis=0) for parts in zip(*runs, strict=True)]


def _seed_variance(
    mine: Sequence[Sequence[NDArray[np.float64]]], others: Sequence[Sequence[NDArray[np.float64]]]
) -> float:
    """Return the variance, over seeds, of the mean difference; one run stands for every seed."""
    a, b = ([np.mean([p.mean() for p in run]) for run in runs] for runs in (mine, others))
    count = max(len(a), len(b))
    if count < 2:
        return 0.0
    a, b = (x if len(x) == count else [np.mean(x)] * count for x in (a, b))
    return float(np.var(np.subtract(a, b), ddof=1) / count)
