"""Transformations that destroy the shape of an object and keep the rest (Lee et al., ICLR 2024)."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def shuffle_patches(x: Tensor, patches: int, generator: Generator) -> Tensor:
    """Return images (B, C, H, W) cut into patches² pieces, in an order of its own for each image.

    Sides that patches do not divide are made smaller for it and enlarged again, bilinear.
    """
    sides = [max(side // patches, 1) * patches for side in x.shape[-2:]]
    cut = _resize(x, sides).unfold(2, sides[0] // patches, sides[0] // patches)
    cut = cut.unfold(3, sides[1] // patches, sides[1] // patches)  # (B, C, rows, columns, h, w)
    batch, channels, rows, columns, h, w = cut.shape
    pieces = cut.reshape(batch, channels, rows * columns, h, w)
    drawn = torch.rand(batch, rows * columns, generator=generator, dtype=torch.float64)
    order = drawn.argsort(1).to(x.device)[:, None, :, None, None].expand_as(pieces)
    shuffled = pieces.gather(2, order).view_as(cut).transpose(3, 4)
    return _resize(shuffled.reshape(batch, channels, *sides), list(x.shape[-2:]))


def _resize(x: Tensor, sides: list[int]) -> Tensor:
    """Return images of other sides, antialiased where they become smaller."""
    if list(x.shape[-2:]) == sides:
        return x
    return F.interpolate(x, sides, mode="bilinear", align_corners=False, antialias=True)


def shuffle_pixels(x: Tensor, generator: Generator) -> Tensor:
    """Return images (B, C, H, W) with their pixels in another order, the same for all of them."""
    order = torch.randperm(x[0, 0].numel(), generator=generator).to(x.device)
    return x.flatten(2)[:, :, order].view(x.shape)


def occlude(x: Tensor) -> Tensor:
    """Return images (B, C, H, W) with each channel's mean in a window of half the sides, centred."""
    height, width = x.shape[-2:]
    up, left = height // 4, width // 4
    covered = x.clone()
    window = covered[:, :, up : up + height // 2, left : left + width // 2]
    window.copy_(x.mean((2, 3), keepdim=True).expand_as(window))
    return covered
