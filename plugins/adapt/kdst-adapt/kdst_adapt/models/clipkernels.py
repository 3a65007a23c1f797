"""Loops over images laid out channels last for a normalised value within bounds; see `kernels`.

A table has the rows of `kernels.scales` or `kernels.slopes`, then the lower and the upper bound.
"""

import numpy as np

from kdst_adapt.compiled import compiled
from kdst_adapt.models.kernels import ROWS, _add_up, _wide


@compiled
def clip(first: int, last: int, table: np.ndarray, z: np.ndarray, y: np.ndarray) -> None:
    """Write y = scale · z + shift, within its bounds."""
    wide = _wide(table)
    scale, shift, low, high, width = wide[0], wide[1], wide[4], wide[5], wide.shape[1]
    for start in range(first, last, width):
        stop = min(start + width, last)
        zs, ys = z[start:stop], y[start:stop]
        for j in range(len(zs)):
            value = scale[j] * zs[j] + shift[j]
            value = low[j] if value < low[j] else value
            ys[j] = high[j] if value > high[j] else value


@compiled
def clipped_gradients(
    first: int, last: int, table: np.ndarray, z: np.ndarray, g: np.ndarray
) -> np.ndarray:
    """Return (2, C): Σ g' and Σ g' · (z - mean), where g' is g between the bounds, else 0."""
    wide = _wide(table)
    scale, shift, mean, low, high = wide[0], wide[1], wide[2], wide[4], wide[5]
    width = wide.shape[1]
    total = np.zeros((2, table.shape[1]))
    part = np.zeros((2, width), z.dtype)
    sums, products = part[0], part[1]
    zero = z.dtype.type(0)
    for row, start in enumerate(range(first, last, width)):
        stop = min(start + width, last)
        zs, gs = z[start:stop], g[start:stop]
        for j in range(len(zs)):
            at, value = scale[j] * zs[j] + shift[j], gs[j]
            value = value if at > low[j] else zero
            value = value if at < high[j] else zero
            sums[j] += value
            products[j] += value * (zs[j] - mean[j])
        if row % ROWS == ROWS - 1:
            _add_up(part, total)
    _add_up(part, total)
    return total


@compiled
def clipped_back(
    first: int, last: int, table: np.ndarray, z: np.ndarray, g: np.ndarray, dz: np.ndarray
) -> None:
    """Write dz = scale · g' + slope · z + offset."""
    wide = _wide(table)
    scale, shift, slope, offset, low, high = wide[0], wide[1], wide[2], wide[3], wide[4], wide[5]
    width = wide.shape[1]
    zero = z.dtype.type(0)
    for start in range(first, last, width):
        stop = min(start + width, last)
        zs, gs, ds = z[start:stop], g[start:stop], dz[start:stop]
        for j in range(len(zs)):
            at, value = scale[j] * zs[j] + shift[j], gs[j]
            value = value if at > low[j] else zero
            value = value if at < high[j] else zero
            ds[j] = scale[j] * value + slope[j] * zs[j] + offset[j]


@compiled
def clipped_back_over(
    first: int, last: int, table: np.ndarray, z: np.ndarray, g: np.ndarray
) -> None:
    """Overwrite g by scale · g' + slope · z + offset.

    `clipped_back` with one array for both gives the same in twice the time: it may not be vectorised then.
    """
    wide = _wide(table)
    scale, shift, slope, offset, low, high = wide[0], wide[1], wide[2], wide[3], wide[4], wide[5]
    width = wide.shape[1]
    zero = z.dtype.type(0)
    for start in range(first, last, width):
        stop = min(start + width, last)
        zs, gs = z[start:stop], g[start:stop]
        for j in range(len(zs)):
            at, value = scale[j] * zs[j] + shift[j], gs[j]
            value = value if at > low[j] else zero
            value = value if at < high[j] else zero
            gs[j] = scale[j] * value + slope[j] * zs[j] + offset[j]
