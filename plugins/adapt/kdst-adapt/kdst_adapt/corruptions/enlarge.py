"""Enlarging an image by linear interpolation, compiled: zoom blur does it dozens of times an image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdst_adapt.compiled import compiled

Array = NDArray[Any]


def enlarged(x: Array, factor: float) -> Array:
    """Return the middle of an image (H, W, C), enlarged by a factor, in the image's type."""
    out = np.empty(x.shape, x.dtype)
    _fill(
        np.ascontiguousarray(x), out, *_between(x.shape[0], factor), *_between(x.shape[1], factor)
    )
    return out


def _between(side: int, factor: float) -> tuple[Array, Array]:
    """Return, for each line of the enlarged image, the line below its place and the share of the next."""
    at = (np.arange(side) - (side - 1) / 2) / factor + (side - 1) / 2
    low = np.clip(at.astype(np.int64), 0, max(side - 2, 0))
    return low, at - low


@compiled
def _fill(x: Array, out: Array, top: Array, down: Array, left: Array, right: Array) -> None:
    height, width, channels = x.shape
    line = np.empty((width, channels))
    for i in range(height):
        upper, lower, share = x[top[i]], x[min(top[i] + 1, height - 1)], down[i]
        for j in range(width):
            for c in range(channels):
                first = np.float64(upper[j, c])
                line[j, c] = first + (np.float64(lower[j, c]) - first) * share
        for j in range(width):
            before, after = left[j], min(left[j] + 1, width - 1)
            for c in range(channels):
                out[i, j, c] = line[before, c] + (line[after, c] - line[before, c]) * right[j]
