"""Accuracy, calibration and likelihood, computed from a few numbers kept for each image of a stream."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor

from kdst_batch.statistics import normal_interval
from kdst_core.bench.sealed import SealedArray, seal_array

BINS = 10
"""Equal-width bins of the calibration error, as in TEA's study of calibration."""
CONFIDENCE, CORRECT, NLL, ENERGY, CLASS = range(5)
"""Columns of a record: confidence, 1 where right, nats, -logsumexp of the logits, predicted class."""
READINGS = ("", "before_update.", "after_update.")
"""Prefixes of metrics: the logits that the method returns, and both readings of them."""
RARE = 1e-3
"""Probability below which a useful network has so few hits."""


def record(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (B, 5) float32 records of logits (B, C) and labels (B,).

    An image whose logits are not all finite counts as wrong, with uniform probabilities and class -1.
    """
    logits = logits.detach().to("cpu", torch.float64)
    broken = ~logits.isfinite().all(1)
    logits = logits.masked_fill(broken[:, None], 0.0)
    log_p = logits.log_softmax(1)
    confidence, predicted = log_p.exp().max(1)
    right = (predicted == labels) & ~broken
    nll = -log_p.gather(1, labels[:, None])[:, 0]
    predicted = predicted.masked_fill(broken, -1)
    columns = (confidence, right, nll, -logits.logsumexp(1), predicted)
    return torch.stack([c.to(torch.float32) for c in columns], 1)


@frozen
class Reliability:
    """Bins of confidence: how many images, their mean confidence and their accuracy (0 if empty)."""

    counts: list[int]
    confidence: list[float]
    accuracy: list[float]


def reliability(records: Tensor) -> Reliability:
    """Return the reliability diagram of records (N, 5): bins (k/10, (k+1)/10] of confidence."""
    confidence = records[:, CONFIDENCE].double()
    index = (confidence * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
    counts = torch.bincount(index, minlength=BINS)
    filled = counts.clamp(min=1)
    mean_confidence = torch.bincount(index, confidence, BINS) / filled
    accuracy = torch.bincount(index, records[:, CORRECT].double(), BINS) / filled
    return Reliability(counts.tolist(), mean_confidence.tolist(), accuracy.tolist())


def expected_calibration_error(records: Tensor) -> float:
    """Return the ECE of records (N, 5), a fraction: Σ (n_k/N)·|accuracy - confidence| (Guo, 2017)."""
    bins = reliability(records)
    gaps = (
        n * abs(a - c) for n, a, c in zip(bins.counts, bins.accuracy, bins.confidence, strict=True)
    )
    return sum(gaps) / max(len(records), 1)


def accuracy(records: Tensor) -> float:
    """Return the share of right predictions."""
    return records[:, CORRECT].double().mean().item()


def shift_metrics(batches: Sequence[Tensor]) -> dict[str, float]:
    """Return accuracy, pooled and batch-averaged ECE and NLL (nats) of one stream's batches."""
    pooled = torch.cat(list(batches))
    return {
        "accuracy": accuracy(pooled),
        "ece": expected_calibration_error(pooled),
        "ece_batch": sum(map(expected_calibration_error, batches)) / len(batches),
        "nll": pooled[:, NLL].double().mean().item(),
    }


def paired_difference(
    ours: Sequence[Tensor], theirs: Sequence[Tensor]
) -> tuple[float, float, float]:
    """Return the difference of mean accuracy and its 95 % interval (low, high).

    ours, theirs: records (N, 5) of the same streams. Where all streams show the same number of images
    they are taken to be the same images, and the error is clustered by image.
    """
    gaps = [
        o[:, CORRECT].double() - t[:, CORRECT].double() for o, t in zip(ours, theirs, strict=True)
    ]
    mean = sum(g.mean().item() for g in gaps) / len(gaps)
    if len({len(g) for g in gaps}) == 1 and len(gaps[0]) > 1:
        clustered = torch.stack(gaps).mean(0)
        error = clustered.std().item() / len(clustered) ** 0.5
    else:
        variances = [g.var().item() / len(g) if len(g) > 1 else 0.25 for g in gaps]
        error = sum(variances) ** 0.5 / len(gaps)
    return mean, *normal_interval(mean, error)


def _sealed(records: Sequence[Sequence[Tensor]]) -> list[list[SealedArray]]:
    """Seal records by shift and batch: with the logits they tell the labels."""
    return [[seal_array(r.numpy()) for r in batches] for batches in records]


@define
class Trace:
    """What is kept of one method: records of every batch, times, peak memory, and what it showed."""

    _records: list[list[SealedArray]] = field(factory=list, converter=_sealed)
    seconds: list[float] = field(factory=list)
    updates: int = 0
    images: dict[str, Tensor] = field(factory=dict)
    scalars: dict[str, list[float]] = field(factory=dict)
    memory: int = 0

    @property
    def records(self) -> list[list[Tensor]]:
        """A list a shift, in it a tensor (B, 3, 5) a batch: readings by columns of `measures`."""
        return [[torch.from_numpy(r.read()) for r in batches] for batches in self._records]

    def begin(self) -> None:
        """Go on to the next shift."""
        self._records.append([])

    def add(self, record: Tensor) -> None:
        """Add the record (B, 3, 5) of a batch."""
        self._records[-1].append(seal_array(record.numpy()))

    def last(self) -> Tensor:
        """Return the newest record (B, 3, 5)."""
        return torch.from_numpy(self._records[-1][-1].read())

    def shift(self, number: int, reading: int = 0) -> list[Tensor]:
        """Return the records (B, 5) of a shift's batches under one reading."""
        return [torch.from_numpy(r.read()[:, reading]) for r in self._records[number]]

    def pooled(self, reading: int = 0) -> list[Tensor]:
        """Return the records (N, 5) of every shift under one reading."""
        return [torch.cat(self.shift(k, reading)) for k in range(len(self._records))]

    def state_dict(self) -> dict[str, Any]:
        """Return everything as tensors and plain values."""
        return {
            "records": self.records,
            "seconds": self.seconds,
            "updates": self.updates,
            "images": self.images,
            "scalars": self.scalars,
            "memory": self.memory,
        }


def near_chance(hits: int, count: int, chance: float) -> bool:
    """Return whether so many hits are in keeping with chance, and not with a network half as good as
    a perfect one."""
    if hits / count > chance + 2 * math.sqrt(chance * (1 - chance) / count):
        return False
    yes, no = math.log((1 + chance) / 2), math.log((1 - chance) / 2)
    logs = (
        math.lgamma(count + 1)
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * yes
        + (count - k) * no
        for k in range(hits + 1)
    )
    return sum(map(math.exp, logs)) < RARE
