"""Views of an image: itself, then random crops at its own size, some of them mirrored."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

RATIOS = (3 / 4, 4 / 3)
"""Between which ratios of width to height crops lie."""
TRIES = 10
"""Draws of a crop that does not fit, before the whole image is taken."""


def views(
    image: Tensor, count: int, generator: Generator, smallest: float, *, flip: bool
) -> Tensor:
    """Return views (count, C, H, W) of an image (C, H, W), the image itself first.

    smallest: share of the area that a crop has at least. Crops are sampled bilinearly.
    """
    if count == 1:
        return image[None]
    height, width = image.shape[1:]
    boxes = [box(height, width, generator, smallest) for _ in range(count - 1)]
    mirrored = [flip and _draw(0, 1, generator) < 0.5 for _ in boxes]
    theta = torch.tensor(
        [
            [[-w if m else w, 0.0, x], [0.0, h, y]]
            for (x, y, w, h), m in zip(boxes, mirrored, strict=True)
        ],
        dtype=image.dtype,
        device=image.device,
    )
    many = image.expand(count - 1, -1, -1, -1)
    grid = F.affine_grid(theta, list(many.shape), align_corners=False)
    crops = F.grid_sample(many, grid, padding_mode="border", align_corners=False)
    return torch.cat([image[None], crops])


def box(
    height: int, width: int, generator: Generator, smallest: float
) -> tuple[float, float, float, float]:
    """Return middle and half sides (x, y, w, h) of a random crop, the image being [-1, 1]².

    Area and the logarithm of the ratio are uniform; a crop that does not fit is drawn again.
    """
    for _ in range(TRIES):
        area = _draw(smallest, 1, generator) * height * width
        ratio = math.exp(_draw(math.log(RATIOS[0]), math.log(RATIOS[1]), generator))
        w, h = math.sqrt(area * ratio) / width, math.sqrt(area / ratio) / height
        if w <= 1 and h <= 1:
            x, y = (_draw(half - 1, 1 - half, generator) for half in (w, h))
            return x, y, w, h
    return 0.0, 0.0, 1.0, 1.0


def _draw(low: float, high: float, generator: Generator) -> float:
    """Draw from U(low, high)."""
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()
