"""Accuracy, calibration and likelihood, computed from a few numbers kept for each image."""

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.statistics import normal_interval

BINS = 10
"""Equal-width bins of the calibration error, as in TEA's study of calibration."""
CONFIDENCE, CORRECT, NLL, ENERGY, CLASS = range(5)
"""Columns of a record: confidence, 1 where right, nats, -logsumexp of the logits, predicted class."""


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
