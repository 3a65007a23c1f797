"""A secret rotation as it is learned from pairs, and from how an attacker's own texts lie."""

import torch
from torch import Tensor

TURNS = 25
"""Steps in which a rotation is brought to agree with pairs and with covariances."""


def learned_rotation(known: Tensor, stored: Tensor) -> Tensor:
    """The orthogonal matrix (D, D) that turns known vectors (m, D) best into stored ones.

    What an attacker learns of a rotation from m texts that he knows to be in the store (orthogonal
    Procrustes). `stored @ matrix` turns the store back.
    """
    return polar(stored.double().T @ known.double()).float()


def polar(matrix: Tensor) -> Tensor:
    """The orthogonal matrix nearest to a square one."""
    u, _, v = torch.linalg.svd(matrix)
    return u @ v


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
