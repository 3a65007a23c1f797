"""The affine change of colour that fits a render to a part of its photograph."""

from collections.abc import Sequence

import torch
from torch import Tensor

PULL = 1e-4
"""Weight, a pixel, that holds the change to none where the pixels leave it open."""


def half(size: Sequence[int], left: bool) -> Tensor:
    """Return which pixels (H, W) lie in the left half of a picture, or in the right."""
    height, width = size
    columns = torch.arange(width) < width // 2
    return (columns if left else ~columns).expand(height, width)


def affine(shown: Tensor, photograph: Tensor) -> Tensor:
    """Return the change (4, 3) that brings colours (P, 3) nearest to a photograph's, by least squares.

    Colours c become c @ change[:3] + change[3]. Without pixels nothing is changed.
    """
    identity = torch.eye(4, 3, dtype=torch.float64)
    given = torch.cat([shown, torch.ones_like(shown[:, :1])], 1).double()
    apart = photograph.double() - given @ identity
    held = PULL * max(1, len(given)) * torch.eye(4, dtype=torch.float64)
    return (identity + torch.linalg.solve(given.T @ given + held, given.T @ apart)).to(shown.dtype)
