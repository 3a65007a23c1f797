"""Affinities W (B, B) between the images of a batch, of features (B, d) of length 1 (section 4)."""

from collections.abc import Callable

import torch
from torch import Tensor

SMALLEST = 1e-12
"""Least width of a Gaussian: all images of a batch may be the same."""


def knn(features: Tensor, k: int, *, published: bool) -> Tensor:
    """Return 1 where the image of the column is among the k nearest of the row's."""
    distance = _distances(features)
    count = len(features)
    if published:  # the nearest is taken for the image itself, though it may be its double
        nearest = distance.topk(min(k + 1, count), largest=False).indices[:, 1:]
    else:
        distance.fill_diagonal_(torch.inf)
        nearest = distance.topk(min(k, count - 1), largest=False).indices
    return torch.zeros_like(distance).scatter_(1, nearest, 1.0)


def rbf(features: Tensor, k: int, *, published: bool) -> Tensor:
    """Return exp(−|φ_i − φ_j|² / 2σ²), σ the mean distance to the k-th neighbour.

    published: the image itself counts as its first neighbour.
    """
    distance = _distances(features)
    rank = min(k if published else k + 1, len(features))
    width = distance.topk(rank, largest=False).values[:, -1].mean().clamp(min=SMALLEST)
    return (-(distance**2) / (2 * width**2)).exp()


def linear(features: Tensor, k: int, *, published: bool) -> Tensor:
    """Return φ_i · φ_j."""
    return features @ features.T


AFFINITIES: dict[str, Callable[..., Tensor]] = {"knn": knn, "rbf": rbf, "linear": linear}
"""By the value of `--affinity`."""


def _distances(features: Tensor) -> Tensor:
    """Return Euclidean distances (B, B), exactly 0 between equal features."""
    return torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
