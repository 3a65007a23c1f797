"""A bilateral grid of colour for a photograph (Wang et al. 2024), sliced in one pass.

A grid holds an affine change of colour for 16 × 16 places of a photograph and 8 levels of luminance. What
the scene shows at a pixel is changed by the one between the cells around it.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from kdst_3dgs.parallel import split_work
from kdst_3dgs.simd import LANES, inlined, kernel, load, store

CELLS, LEVELS = 16, 8
"""Cells along either side of a photograph, and levels of luminance, the published ones."""
SHAPE = (CELLS, LEVELS, CELLS, 3, 4)
"""A grid by row, level and column."""
LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (BT.601)."""
_TERMS = 12
_ROW = CELLS * _TERMS  # floats of a level in a row of cells
_PLANE = LEVELS * _ROW  # floats of a row of cells
_SPAN = _PLANE + LANES  # the same with room for a vector at the last cell
_RED, _GREEN, _BLUE = (np.float32(weight) for weight in LUMINANCE)
_ONE = np.float32(1)


@inlined
def _between(position, last):  # type: ignore[no-untyped-def]
    """Return the cell before a position from 0 to `last`, and how far beyond it that is."""
    cell = min(int(position), last - 1)
    return cell, position - np.float32(cell)


@inlined
def _place(pixel, pixels):  # type: ignore[no-untyped-def]
    """Return the cell before a pixel's centre along one side, and how far beyond it that is."""
    return _between((pixel + np.float32(0.5)) / pixels * np.float32(CELLS - 1), CELLS - 1)


@inlined
def _blend(grid, y, height, plane):  # type: ignore[no-untyped-def]
    """Write the blend of the two rows of cells around a row of pixels to `plane`."""
    top, t = _place(y, height)
    for k in range(0, _PLANE, LANES):
        above, below = load(grid, top * _PLANE + k), load(grid, (top + 1) * _PLANE + k)
        store(plane, k, above + (below - above) * t)


@inlined
def _level(luminance):  # type: ignore[no-untyped-def]
    """Return the level below a luminance, cut to 0 to 1, and how far above it that is."""
    shade = min(max(luminance, np.float32(0)), _ONE)
    return _between(shade * np.float32(LEVELS - 1), LEVELS - 1)


@kernel
def slice_rows(first, last, rgb, grid, out):  # type: ignore[no-untyped-def]
    """Change the colours of the rows `first` to `last` of rgb (H, W, 3) by a flat grid, into `out`."""
    height, width, _ = rgb.shape
    plane, matrix = np.zeros(_SPAN, np.float32), np.empty(LANES, np.float32)
    for y in range(first, last):
        _blend(grid, y, height, plane)
        for x in range(width):
            left, s = _place(x, width)
            r, g, b = rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2]
            level, u = _level(_RED * r + _GREEN * g + _BLUE * b)
            i = level * _ROW + left * _TERMS
            j = i + _ROW
            low, high = load(plane, i), load(plane, j)
            low = low + (load(plane, i + _TERMS) - low) * s
            high = high + (load(plane, j + _TERMS) - high) * s
            store(matrix, 0, low + (high - low) * u)
            for c in range(3):
                k = 4 * c
                out[y, x, c] = matrix[k] * r + matrix[k + 1] * g + matrix[k + 2] * b + matrix[k + 3]


@kernel
def gradient_rows(first, last, rgb, grid, pulled, by_rgb, by_plane):  # type: ignore[no-untyped-def]
    """Gradients of `slice_rows` by colours, `by_rgb` (H, W, 3), and by each row's blend of cells,
    `by_plane` (H · _SPAN,) of zeros, from those by its output, `pulled` (H, W, 3)."""
    height, width, _ = rgb.shape
    plane, outer = np.zeros(_SPAN, np.float32), np.zeros(LANES, np.float32)
    matrix, slope = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for y in range(first, last):
        _blend(grid, y, height, plane)
        for x in range(width):
            left, s = _place(x, width)
            r, g, b = rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2]
            luminance = _RED * r + _GREEN * g + _BLUE * b
            level, u = _level(luminance)
            i = level * _ROW + left * _TERMS
            j = i + _ROW
            low, high = load(plane, i), load(plane, j)
            low = low + (load(plane, i + _TERMS) - low) * s
            high = high + (load(plane, j + _TERMS) - high) * s
            store(matrix, 0, low + (high - low) * u)
            store(slope, 0, high - low)
            red = green = blue = steeper = np.float32(0)
            for c in range(3):
                d, k = pulled[y, x, c], 4 * c
                red += d * matrix[k]
                green += d * matrix[k + 1]
                blue += d * matrix[k + 2]
                steeper += d * (slope[k] * r + slope[k + 1] * g + slope[k + 2] * b + slope[k + 3])
                outer[k], outer[k + 1], outer[k + 2], outer[k + 3] = d * r, d * g, d * b, d
            if luminance > np.float32(0) and luminance < _ONE:
                steeper *= np.float32(LEVELS - 1)
                red, green, blue = (
                    red + _RED * steeper,
                    green + _GREEN * steeper,
                    blue + _BLUE * steeper,
                )
            by_rgb[y, x, 0], by_rgb[y, x, 1], by_rgb[y, x, 2] = red, green, blue
            pull = load(outer, 0)
            above, i, j = pull * u, i + y * _SPAN, j + y * _SPAN
            below = pull - above
            store(by_plane, i, load(by_plane, i) + (below - below * s))
            store(by_plane, i + _TERMS, load(by_plane, i + _TERMS) + below * s)
            store(by_plane, j, load(by_plane, j) + (above - above * s))
            store(by_plane, j + _TERMS, load(by_plane, j + _TERMS) + above * s)


@kernel
def gather_rows(by_plane, height, out):  # type: ignore[no-untyped-def]
    """Add the gradients of each row's blend of cells, `by_plane` (H · _SPAN,), to a flat grid of zeros."""
    for y in range(height):
        top, t = _place(y, height)
        at = top * _PLANE
        for k in range(0, _PLANE, LANES):
            pull = load(by_plane, y * _SPAN + k)
            store(out, at + k, load(out, at + k) + (pull - pull * t))
            store(out, at + _PLANE + k, load(out, at + _PLANE + k) + pull * t)


class _Slice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rgb: Tensor, grid: Tensor, threads: int) -> Tensor:
        colours, cells = rgb.detach().contiguous(), grid.detach().contiguous()
        ctx.save_for_backward(colours, cells)
        ctx.threads = threads
        out = torch.empty_like(colours)
        arrays = (colours.numpy(), cells.numpy().reshape(-1), out.numpy())
        split_work(slice_rows, len(colours), threads, *arrays)
        return out

    @staticmethod
    def backward(ctx: Any, pulled: Tensor) -> Any:
        colours, cells = ctx.saved_tensors
        by_rgb, by_grid = torch.empty_like(colours), torch.zeros_like(cells)
        by_plane = np.zeros(len(colours) * _SPAN, np.float32)
        given = (colours.numpy(), cells.numpy().reshape(-1), pulled.contiguous().numpy())
        split_work(gradient_rows, len(colours), ctx.threads, *given, by_rgb.numpy(), by_plane)
        gather_rows(by_plane, len(colours), by_grid.numpy().reshape(-1))
        return by_rgb, by_grid, None


def sliced(rgb: Tensor, grid: Tensor, threads: int = 1) -> Tensor:
    """Return rgb (H, W, 3) with its colours changed by a grid (16, 8, 16, 3, 4), with gradients.

    A pixel's place is that of its centre, from 0 to 1 along either side, its level the luminance of its
    colour, cut to 0 to 1; the grid's outer cells lie at 0 and 1. The gradients are the same bits for any
    number of threads. In float32 on the CPU kernels do it, else torch.
    """
    if rgb.is_cuda or rgb.dtype != torch.float32:
        return sliced_in_torch(rgb, grid)
    out: Tensor = _Slice.apply(rgb, grid, threads)  # type: ignore[no-untyped-call]
    return out


def sliced_in_torch(rgb: Tensor, grid: Tensor) -> Tensor:
    """Return what `sliced` does, by torch's operations, on any device and in any precision."""
    height, width, _ = rgb.shape
    y = (torch.arange(height, device=rgb.device, dtype=rgb.dtype) + 0.5) * (2 / height) - 1
    x = (torch.arange(width, device=rgb.device, dtype=rgb.dtype) + 0.5) * (2 / width) - 1
    shade = 2 * (rgb @ rgb.new_tensor(LUMINANCE)) - 1
    places = torch.stack([x.expand(height, width), y[:, None].expand(height, width), shade], -1)
    planes = grid.flatten(3).permute(3, 1, 0, 2)[None]
    found = grid_sample(planes, places[None, None], align_corners=True, padding_mode="border")
    matrix = found[0, :, 0].permute(1, 2, 0).reshape(height, width, 3, 4)
    return (matrix[..., :3] @ rgb[..., None])[..., 0] + matrix[..., 3]
