"""Maps from stored vectors back to those that they were made of, learned from known pairs of both."""

import math
from typing import Protocol

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_invert.defences import learned_filling, mean_length, polar, unit

MOST_LINEAR = 600
"""Pairs up to which the linear map is tried too; from many pairs the curved one is closer."""
FEWEST = 20
"""Pairs from which on the curved one is tried."""
WIDTH = 0.5
"""γ of the kernel exp(-γ |a - b|²) of vectors of length 1."""
PENALTIES = (0.01, 0.1)
TURNS = 25
"""Steps in which a rotation is brought to agree with pairs and with covariances."""


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


def aligned_rotation(known: Tensor, stored: Tensor, own: Tensor, store: Tensor) -> Tensor:
    """The matrix (D, D) that turns a store (N, D) back, learned from few pairs (m, D) and from what is
    no secret: how vectors (n, D) of the attacker's own texts of the same kind lie.

    The orthogonal matrix that brings pairs together and the mean and covariance of the own vectors onto
    those of the store, by polar decompositions of both terms in turn. Use it as `stored @ matrix`.
    """
    here, there = own.double().mean(0), store.double().mean(0)
    covariance, other = _covariance(own.double() - here), _covariance(store.double() - there)
    fixed = stored.double().T @ known.double() / max(len(known), 1) + torch.outer(there, here)
    found = polar(fixed)
    for _ in range(TURNS):
        found = polar(fixed + other @ found @ covariance)
    return found.float()


def _covariance(e: Tensor) -> Tensor:
    """Of vectors (n, D) without their mean."""
    return e.T @ e / max(len(e), 1)


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
