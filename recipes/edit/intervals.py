"""A measured figure with its 95 % interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kdst_batch.statistics import normal_interval, wilson


@dataclass(frozen=True)
class Measured:
    """A mean over `count` cases with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:7.3f}  [{self.low:.3f}, {self.high:.3f}]  n={self.count}"


def rate(right: Tensor) -> Measured:
    """The share of true entries in `right` (N,), with Wilson's score interval (1927)."""
    n, successes = len(right), int(right.sum())
    return Measured(successes / n, *wilson(successes, n), n)


def mean(values: Tensor) -> Measured:
    """The mean of `values` (N,), with the normal interval of its standard error."""
    n = len(values)
    m = float(values.double().mean())
    error = float(values.double().std()) / math.sqrt(n) if n > 1 else math.inf
    return Measured(m, *normal_interval(m, error), n)


def area_under_curve(scores: Tensor, inside: Tensor) -> Tensor:
    """Per row (B,), the chance that a pixel inside scores above one outside; scores, inside (B, P).

    Mann and Whitney's statistic, ties counted half; 0.5 for rows without both kinds.
    """
    out = []
    for row, chosen in zip(scores, inside, strict=True):
        high, low = row[chosen], row[~chosen]
        if len(high) == 0 or len(low) == 0:
            out.append(torch.tensor(0.5))
            continue
        wins = (high[:, None] > low).float() + 0.5 * (high[:, None] == low).float()
        out.append(wins.mean())
    return torch.stack(out)
