"""Photographs kept as bytes: three a pixel, and floats only of the one that is looked at."""

from collections.abc import Sequence
from typing import Any, overload

import torch
from torch import Tensor


class Photographs(Sequence[Tensor]):
    """A sequence of float tensors (H, W, 3) in [0, 1] that are made when they are asked for.

    pixels: one (H, W, 3) uint8 array each.
    """

    def __init__(self, pixels: Sequence[Any]) -> None:
        self._pixels = list(pixels)

    def __len__(self) -> int:
        return len(self._pixels)

    @overload
    def __getitem__(self, row: int) -> Tensor: ...
    @overload
    def __getitem__(self, row: slice) -> "Photographs": ...
    def __getitem__(self, row: int | slice) -> "Tensor | Photographs":
        if isinstance(row, slice):
            return Photographs(self._pixels[row])
        return torch.from_numpy(self._pixels[row]).float() / 255

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape (H, W, 3) of each, for which none becomes floats."""
        return [tuple(array.shape) for array in self._pixels]

    def pick(self, rows: Sequence[int]) -> "Photographs":
        """Return those of some rows, which share the bytes."""
        return Photographs([self._pixels[k] for k in rows])
