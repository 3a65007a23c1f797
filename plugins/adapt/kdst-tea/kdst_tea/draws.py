"""The random numbers of TEA, in the order in which they are drawn."""

import torch
from torch import Generator, Tensor


class Draws:
    """A thin wrapper of a CPU generator; a test may put recorded draws in its place."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def uniform(
        self, shape: tuple[int, ...], dtype: torch.dtype, low: float, high: float
    ) -> Tensor:
        """Return values of U(low, high), of a shape and dtype."""
        return torch.empty(shape, dtype=dtype).uniform_(low, high, generator=self.generator)

    def integers(self, high: int, count: int) -> Tensor:
        """Return `count` integers from 0 to high - 1."""
        return torch.randint(0, high, (count,), generator=self.generator)

    def fractions(self, count: int) -> Tensor:
        """Return (count,) float32 values of U(0, 1)."""
        return torch.rand(count, generator=self.generator, dtype=torch.float32)

    def normal(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return values of N(0, 1), of a shape and dtype."""
        return torch.randn(shape, generator=self.generator, dtype=dtype)
