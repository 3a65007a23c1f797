"""A secret rotation of all vectors."""

import torch
from attrs import frozen
from torch import Generator, Tensor


@frozen
class Rotation:
    """A secret orthogonal matrix: every product, so every search, stays as it is."""

    secret: int = 0
    name: str = "rotation"

    @property
    def strength(self) -> str:
        """There is nothing to vary."""
        return "secret"

    def matrix(self, dimension: int) -> Tensor:
        """The secret (D, D), uniform over orthogonal matrices."""
        generator = torch.Generator().manual_seed(self.secret + 982_451_653)
        drawn = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
        q, r = torch.linalg.qr(drawn)
        return (q * r.diagonal().sign()).float()

    def protect(self, e: Tensor, generator: Generator) -> Tensor:
        """Turn."""
        return e @ self.matrix(e.shape[1]).T

    def query(self, e: Tensor) -> Tensor:
        """Turn queries likewise."""
        return e @ self.matrix(e.shape[1]).T
