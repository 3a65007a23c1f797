"""Maps from stored vectors back to those that they were made of, learned from known pairs of both."""

import math
from typing import Protocol

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_invert.defences.defence import mean_length, unit

MOST_LINEAR = 600
"""Pairs up to which the linear map is tried too; from many pairs the curved one is closer."""
FEWEST = 20
"""Pairs from which on the curved one is tried."""
WIDTH = 0.5
"""γ of the kernel exp(-γ |a - b|²) of vectors of length 1."""
PENALTIES = (0.01, 0.1)
"""Ridge penalties of the kernel that are tried."""
LINEAR_PENALTIES = tuple(10.0**k for k in range(-6, 4))
"""Ridge penalties of the linear map that are tried, relative to the mean squared length of stored vectors."""


class Filling(Protocol):
    """A map of stored vectors (n, D) to what they were made of (n, D)."""

    def __call__(self, stored: Tensor) -> Tensor:
        """Fill in what the defence took away, as far as it is known."""


@frozen
class Linear:
    """stored @ matrix."""

    matrix: Tensor = field(repr=False)

    def __call__(self, stored: Tensor) -> Tensor:
        """Return (n, D)."""
        return stored @ self.matrix


@frozen
class Curved:
    """Kernel ridge regression from the known stored vectors, of what they lack or of the whole.

    keeps: whether the result begins with the stored vector itself, which suits a defence that changes
    little, else with the mean.
    """

    anchors: Tensor = field(repr=False)
    weights: Tensor = field(repr=False)
    mean: Tensor = field(repr=False)
    keeps: bool

    def __call__(self, stored: Tensor) -> Tensor:
        """Return (n, D)."""
        found = self.mean + kernel(stored, self.anchors) @ self.weights
        return ((stored.double() if self.keeps else 0) + found).float()


def kernel(a: Tensor, b: Tensor) -> Tensor:
    """Likeness (n, m) of vectors (n, D) and (m, D) by their direction."""
    return torch.exp(2 * WIDTH * (unit(a.double()) @ unit(b.double()).T - 1))


def learned(known: Tensor, stored: Tensor) -> tuple[Filling, float]:
    """The map from stored vectors (m, D) to the known ones that errs least on each pair when it is left
    out, and the deviation a coordinate that it leaves, relative to the mean length.

    Without a pair the identity. Tried are ridge regression, towards the identity and towards zero, and
    kernel ridge regression of the whole and of what is lacking.
    """
    found: Filling = Linear(torch.eye(stored.shape[1]))
    left = _deviation(known, float((known - stored).double().square().sum()))
    if len(known) and len(known) <= MOST_LINEAR:
        matrix, left = learned_filling(known, stored)
        found = Linear(matrix)
    if len(known) < FEWEST:
        return found, left
    for curve, error in _curves(known.double(), stored.double()):
        if (deviation := _deviation(known, error)) < left:
            found, left = curve, deviation
    return found, left


def learned_filling(known: Tensor, stored: Tensor) -> tuple[Tensor, float]:
    """The linear map (D, D) from stored vectors (m, D) to the known ones that they were made of, and
    the deviation that it leaves a coordinate, relative to the mean length.

    What an attacker learns of dropping or rounding from m pairs: ridge regression, drawn towards the
    identity, which suits a defence that changes little, or towards zero. Which of them, and how
    strongly, is chosen by leave-one-out error. Use it as `stored @ matrix`.
    """
    s, e = stored.double(), known.double()
    values, vectors = torch.linalg.eigh(s @ s.T)
    scale = float(s.square().sum(1).mean())
    identity = torch.eye(s.shape[1], dtype=s.dtype)
    found, least = identity, float((e - s).square().sum())
    for start in (identity, torch.zeros_like(identity)):
        turned = vectors.T @ (e - s @ start)
        for penalty in LINEAR_PENALTIES:
            inverse = 1 / (values.clamp(min=0) + penalty * scale + 1e-12)
            weights = vectors @ (inverse[:, None] * turned)
            left_out = weights / (vectors.square() @ inverse)[:, None]
            error = float(left_out.square().sum())
            if error < least:
                found, least = start + s.T @ weights, error
    left = math.sqrt(least / max(e.numel(), 1)) / mean_length(known)
    return found.float(), left


def _curves(known: Tensor, stored: Tensor) -> "list[tuple[Curved, float]]":
    """Curved maps of every penalty and start, with the squared error of the pairs left out in turn."""
    likeness, found = kernel(stored, stored), []
    for penalty in PENALTIES:
        damped = likeness + penalty * torch.eye(len(stored), dtype=likeness.dtype)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
        for keeps in (True, False):
            wanted = known - stored if keeps else known
            mean = wanted.mean(0)
            weights = inverse @ (wanted - mean)
            error = float((weights / inverse.diagonal()[:, None]).square().sum())
            found.append((Curved(stored, weights, mean, keeps), error))
    return found


def _deviation(known: Tensor, error: float) -> float:
    """A squared error of all pairs as a deviation a coordinate, relative to the mean length."""
    return math.sqrt(error / max(known.numel(), 1)) / mean_length(known)
