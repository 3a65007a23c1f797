"""Pictures of a run as PNG: corrupted inputs, and what a method shows of its inner life."""

import io
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from kdst_adapt.streams.shift import Shift

COLUMNS = 10
SIDE = 32
"""Smallest side in pixels of an image in a grid; larger images keep their size up to 96."""


def inputs(shifts: Sequence[Shift]) -> bytes:
    """Return a grid of the first images of each shift, one row a shift."""
    return grid([s.pictures(np.arange(min(COLUMNS, len(s.labels)))) for s in shifts])


def rows(images: Mapping[str, Tensor]) -> bytes | None:
    """Return a grid of named images (n, C, H, W), one row a name, or None when there are none."""
    return grid([i[:COLUMNS] for i in images.values()]) if images else None


def grid(lines: Sequence[Tensor]) -> bytes:
    """Return PNG bytes of rows of images (n, C, H, W), values clipped to [0, 1]."""
    from PIL import Image

    side = int(np.clip(max(lines[0].shape[2:]), SIDE, 96))
    gap = max(1, side // 16)
    canvas = Image.new("RGBA", (COLUMNS * (side + gap) - gap, len(lines) * (side + gap) - gap))
    for row, line in enumerate(lines):
        for column, image in enumerate(line[:COLUMNS]):
            tile = Image.fromarray(_pixels(image)).resize((side, side), Image.Resampling.NEAREST)
            canvas.paste(tile, (column * (side + gap), row * (side + gap)))
    return _png(canvas.size, canvas.tobytes())


@lru_cache(maxsize=8)
def _png(size: tuple[int, int], pixels: bytes) -> bytes:
    """Return RGBA bytes as PNG; runs on the same streams, one after another, show the same inputs."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.frombytes("RGBA", size, pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _pixels(image: Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Return an image (C, H, W) as (H, W, 3) bytes; other than 3 channels become grey."""
    if image.shape[0] != 3:
        image = image.mean(0, keepdim=True).expand(3, -1, -1)
    scaled = (image.clamp(0, 1).nan_to_num() * 255).round().to(torch.uint8)
    return scaled.permute(1, 2, 0).contiguous().numpy()
