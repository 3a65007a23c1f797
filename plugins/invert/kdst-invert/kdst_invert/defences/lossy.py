"""Defences that leave something of the vectors out."""

import torch
from attrs import frozen
from torch import Generator, Tensor

from kdst_invert.defences.defence import StoredOnly


@frozen
class Rounding(StoredOnly):
    """Each vector rounded to integers of some bits, scaled to its largest coordinate."""

    bits: int = 8
    name: str = "rounding"

    @property
    def strength(self) -> str:
        """Bits a coordinate."""
        return f"int{self.bits}"

    def protect(self, e: Tensor, generator: Generator) -> Tensor:
        """Round."""
        most = 2 ** (self.bits - 1) - 1
        step = e.abs().amax(dim=1, keepdim=True) / most
        return (e / step).round().clamp(-most, most) * step


@frozen
class Dropping(StoredOnly):
    """A share of the dimensions, the same for all vectors, set to 0, which adds nothing to a product."""

    share: float
    seed: int = 0
    name: str = "dropping"

    @property
    def strength(self) -> str:
        """Share that is dropped."""
        return f"{self.share:.0%} dropped"

    def protect(self, e: Tensor, generator: Generator) -> Tensor:
        """Set the dropped dimensions to 0."""
        chosen = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(e.shape[1], generator=chosen)
        kept = e.clone()
        kept[:, order[: round(self.share * e.shape[1])]] = 0
        return kept
