"""Weights of maps, taken apart so that multiplying by them costs little."""

from typing import Self

import torch
from attrs import frozen
from torch import Tensor


@frozen
class Weights:
    """Weights W (n, T, T) of maps: of each row its largest weight, and what the rows hold beside it.

    Most tokens take the attention of one token, all padding does. at: (n, T), the column of a row's largest
    weight; first: (n, 1, T, 1), that weight. block: (n, R, C), the others, in some rows (R,) and columns
    (C,).
    """

    at: Tensor
    first: Tensor
    rows: Tensor
    columns: Tensor
    block: Tensor

    @classmethod
    def of(cls, weights: Tensor, like: Tensor) -> Self:
        """Take weights apart, in the precision of `like`."""
        weights = weights.to(like)
        at = weights.abs().argmax(-1, keepdim=True)
        first = weights.gather(-1, at)
        others = weights.scatter(-1, at, 0)
        there = (others != 0).any(0)
        rows, columns = (there.any(dim).nonzero().flatten() for dim in (1, 0))
        return cls(
            at[..., 0], first[..., None, :, :], rows, columns, others[:, rows][:, :, columns]
        )

    def fits(self, like: Tensor) -> bool:
        """Return whether they are in the precision of `like`."""
        return self.first.dtype == like.dtype and self.first.device == like.device

    def of_values(self, values: Tensor) -> Tensor:
        """Return W times values (n, H, T, d)."""
        each = torch.arange(len(values), device=values.device)[:, None]
        found = values.transpose(1, 2)[each, self.at].transpose(1, 2) * self.first
        if len(self.rows):
            found.index_add_(2, self.rows, self.block[:, None] @ values[:, :, self.columns])
        return found
