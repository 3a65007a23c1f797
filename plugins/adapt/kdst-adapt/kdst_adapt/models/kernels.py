"""Loops over images laid out channels last, compiled by numba and kept on disk.

Every loop takes values `first` to `last`, whole pixels, of flat arrays (B·H·W·C,), and a table (k, C)
with a row of numbers for each of k coefficients. Rows are repeated to some 512 values, so that the
innermost loop is long enough for the processor's vectors whatever C is. A value that is chosen by a
condition is read before it, as a loop that may skip a read is not made of vectors.
"""

import numpy as np

from kdst_adapt.compiled import compiled

WIDTH = 512
ROWS = 256
"""Rows whose sums are added in the precision of the values before they go on in float64."""


@compiled
def _wide(table: np.ndarray) -> np.ndarray:
    kinds, channels = table.shape
    width = channels * (-(-WIDTH // channels))
    wide = np.empty((kinds, width), table.dtype)
    for kind in range(kinds):
        for j in range(width):
            wide[kind, j] = table[kind, j % channels]
    return wide


@compiled
def _add_up(part: np.ndarray, total: np.ndarray) -> None:
    channels = total.shape[1]
    for kind in range(len(part)):
        for j in range(part.shape[1]):
            total[kind, j % channels] += part[kind, j]
            part[kind, j] = 0


@compiled
def moments(first: int, last: int, table: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return (2, C): Σ (z - pivot) and Σ (z - pivot)²; table: pivot."""
    wide = _wide(table)
    pivot, width = wide[0], wide.shape[1]
    total = np.zeros((2, table.shape[1]))
    part = np.zeros((2, width), z.dtype)
    sums, squares = part[0], part[1]
    for row, start in enumerate(range(first, last, width)):
        zs = z[start : min(start + width, last)]
        for j in range(len(zs)):
            d = zs[j] - pivot[j]
            sums[j] += d
            squares[j] += d * d
        if row % ROWS == ROWS - 1:
            _add_up(part, total)
    _add_up(part, total)
    return total


@compiled
def scales(
    total: np.ndarray,
    count: int,
    pivot: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    eps: float,
) -> np.ndarray:
    """Return (4, C) in float64: scale, shift, mean and 1 / sqrt(variance + eps) of each channel.

    total: of `moments` over all `count` pixels; (z - mean) / sqrt(...) · weight + bias = scale · z + shift.
    """
    table = np.empty((4, len(pivot)))
    for c in range(len(pivot)):
        first, second = total[0, c] / count, total[1, c] / count
        mean = pivot[c] + first
        inverse = 1 / np.sqrt(second - first * first + eps)
        scale = weight[c] * inverse
        table[0, c], table[1, c] = scale, bias[c] - mean * scale
        table[2, c], table[3, c] = mean, inverse
    return table


@compiled
def slopes(total: np.ndarray, count: int, statistics: np.ndarray) -> np.ndarray:
    """Return (4, C) in float64: scale, shift, slope, offset; dz = scale · g' + slope · z + offset.

    total: of `gradients` over all `count` pixels; statistics: of `scales`.
    """
    table = np.empty_like(statistics)
    for c in range(table.shape[1]):
        scale, shift = statistics[0, c], statistics[1, c]
        mean, inverse = statistics[2, c], statistics[3, c]
        slope = -scale * inverse * inverse * total[1, c] / count
        table[0, c], table[1, c] = scale, shift
        table[2, c], table[3, c] = slope, -scale * total[0, c] / count - slope * mean
    return table


@compiled
def normalise(first: int, last: int, table: np.ndarray, z: np.ndarray, y: np.ndarray) -> None:
    """Write y = max(0, scale · z + shift); table: as `scales` returns it."""
    wide = _wide(table)
    scale, shift, width = wide[0], wide[1], wide.shape[1]
    zero = z.dtype.type(0)
    for start in range(first, last, width):
        stop = min(start + width, last)
        zs, ys = z[start:stop], y[start:stop]
        for j in range(len(zs)):
            value = scale[j] * zs[j] + shift[j]
            ys[j] = zero if value < zero else value


@compiled
def normalise_added(
    first: int,
    last: int,
    table: np.ndarray,
    z: np.ndarray,
    r: np.ndarray,
    y: np.ndarray,
    on: np.ndarray,
) -> None:
    """Write y = max(0, scale · z + shift + r), and where it is not 0 into `on`; table: of `scales`."""
    wide = _wide(table)
    scale, shift, width = wide[0], wide[1], wide.shape[1]
    zero = z.dtype.type(0)
    for start in range(first, last, width):
        stop = min(start + width, last)
        zs, rs, ys, ons = z[start:stop], r[start:stop], y[start:stop], on[start:stop]
        for j in range(len(zs)):
            value = scale[j] * zs[j] + shift[j] + rs[j]
            ys[j] = zero if value < zero else value
        for j in range(len(zs)):  # a loop of its own, as values of two sizes would not vectorise
            ons[j] = ys[j] > zero


@compiled
def gradients(first: int, last: int, table: np.ndarray, z: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Return (2, C): Σ g' and Σ g' · (z - mean), where g' is g where scale · z + shift > 0, else 0.

    table: as `scales` returns it.
    """
    wide = _wide(table)
    scale, shift, mean, width = wide[0], wide[1], wide[2], wide.shape[1]
    total = np.zeros((2, table.shape[1]))
    part = np.zeros((2, width), z.dtype)
    sums, products = part[0], part[1]
    zero = z.dtype.type(0)
    for row, start in enumerate(range(first, last, width)):
        stop = min(start + width, last)
        zs, gs = z[start:stop], g[start:stop]
        for j in range(len(zs)):
            value = gs[j]
            value = value if scale[j] * zs[j] + shift[j] > zero else zero
            sums[j] += value
            products[j] += value * (zs[j] - mean[j])
        if row % ROWS == ROWS - 1:
            _add_up(part, total)
    _add_up(part, total)
    return total


@compiled
def back(first: int, last: int, table: np.ndarray, z: np.ndarray, g: np.ndarray) -> None:
    """Overwrite g by scale · g' + slope · z + offset; table: as `slopes` returns it."""
    wide = _wide(table)
    scale, shift, slope, offset = wide[0], wide[1], wide[2], wide[3]
    width = wide.shape[1]
    zero = z.dtype.type(0)
    for start in range(first, last, width):
        stop = min(start + width, last)
        zs, gs = z[start:stop], g[start:stop]
        for j in range(len(zs)):
            value = gs[j]
            value = value if scale[j] * zs[j] + shift[j] > zero else zero
            gs[j] = scale[j] * value + slope[j] * zs[j] + offset[j]


@compiled
def gradients_added(
    first: int,
    last: int,
    table: np.ndarray,
    z: np.ndarray,
    on: np.ndarray,
    g: np.ndarray,
    h: np.ndarray | None,
) -> np.ndarray:
    """Overwrite g by g + h, and by 0 where not `on`; return (2, C): Σ g and Σ g · (z - mean).

    table: as `scales` returns it.
    """
    wide = _wide(table)
    mean, width = wide[2], wide.shape[1]
    total = np.zeros((2, table.shape[1]))
    part = np.zeros((2, width), z.dtype)
    sums, products = part[0], part[1]
    zero = z.dtype.type(0)
    for row, start in enumerate(range(first, last, width)):
        stop = min(start + width, last)
        zs, ons, gs = z[start:stop], on[start:stop], g[start:stop]
        if h is not None:
            hs = h[start:stop]
            for j in range(len(zs)):
                gs[j] += hs[j]
        for j in range(len(zs)):  # a loop of its own, as one that also sums would not vectorise
            gs[j] = gs[j] if ons[j] else zero
        for j in range(len(zs)):
            sums[j] += gs[j]
            products[j] += gs[j] * (zs[j] - mean[j])
        if row % ROWS == ROWS - 1:
            _add_up(part, total)
    _add_up(part, total)
    return total


@compiled
def back_added(
    first: int, last: int, table: np.ndarray, z: np.ndarray, g: np.ndarray, dz: np.ndarray
) -> None:
    """Write dz = scale · g + slope · z + offset; table: as `slopes` returns it."""
    wide = _wide(table)
    scale, slope, offset, width = wide[0], wide[2], wide[3], wide.shape[1]
    for start in range(first, last, width):
        stop = min(start + width, last)
        zs, gs, ds = z[start:stop], g[start:stop], dz[start:stop]
        for j in range(len(zs)):
            ds[j] = scale[j] * gs[j] + slope[j] * zs[j] + offset[j]
