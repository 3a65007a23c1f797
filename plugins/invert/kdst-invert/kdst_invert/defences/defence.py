"""What every defence has: `protect` changes stored vectors, `query` what they are searched with."""

from typing import Protocol

import torch
from torch import Generator, Tensor

UNIT = 1e-3
"""How far from 1 the mean length of normalised vectors may be by rounding."""


class Defence(Protocol):
    """name: for tables and files. strength: the number that is varied, as text."""

    @property
    def name(self) -> str:
        """Kind of the defence."""

    @property
    def strength(self) -> str:
        """The number that is varied, with its symbol."""

    def protect(self, e: Tensor, generator: Generator) -> Tensor:
        """Stored vectors (N, D) as they are kept."""

    def query(self, e: Tensor) -> Tensor:
        """Vectors (n, D) as they search the store."""


class StoredOnly:
    """What the defences share that change nothing but what is stored."""

    def query(self, e: Tensor) -> Tensor:
        """Queries stay."""
        return e


def mean_length(e: Tensor) -> float:
    """Mean length of vectors (N, D), by which noise is scaled; 1 where all have length 1."""
    found = float(e.norm(dim=1).mean()) if len(e) else 1.0
    return 1.0 if abs(found - 1) < UNIT else found


def unit(e: Tensor) -> Tensor:
    """Vectors divided by their length."""
    return torch.nn.functional.normalize(e, dim=1)
