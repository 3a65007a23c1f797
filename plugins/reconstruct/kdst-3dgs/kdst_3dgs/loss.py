"""The training loss (1 - λ)·L1 + λ·(1 - SSIM), value and gradient in one pass over the image.

SSIM of Wang et al. 2004 as the 3DGS paper's code has it: Gaussian window of 11 pixels, σ 1.5,
per channel, over the windows that lie inside the image.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdst_3dgs.parallel import split_work
from kdst_3dgs.reference import photometric_loss_reference
from kdst_3dgs.simd import LANES, kernel, load, splat, store, sums

WINDOW, _SIGMA = 11, 1.5
MIN_SIDE = 16  # px: a row of windows then fills a SIMD vector
_C1, _C2 = np.float32(0.01**2), np.float32(0.03**2)
_offsets = np.arange(WINDOW) - WINDOW // 2
_kernel = np.exp(-0.5 * (_offsets / _SIGMA) ** 2)
_TAPS = tuple(np.float32(tap) for tap in _kernel / _kernel.sum())
_SPAN = 3 * (WINDOW - 1)  # floats between the ends of a window in an interleaved RGB row


@kernel
def ssim_rows(first, last, x, y, size, totals, d_mean, d_square, d_product):  # type: ignore[no-untyped-def]
    """SSIM of the windows whose top row is in `first` to `last`.

    x, y: flat RGB images of `size` (height, floats a row). Sums go to `totals` (rows,), the
    derivatives by the window means of x, x² and x·y to rows of the `d_` arrays, zero-padded by
    `_SPAN` on both sides.
    """
    stride = size[1]
    blurred = np.empty((5, stride), np.float32)
    out = stride - _SPAN
    line = np.empty(LANES, np.float32)
    for row in range(first, last):
        for begin in range(0, stride, LANES):
            i = min(begin, stride - LANES)
            bx = by = bxx = byy = bxy = splat(np.float32(0))
            for k in range(WINDOW):
                tap = splat(_TAPS[k])
                px = load(x, (row + k) * stride + i)
                py = load(y, (row + k) * stride + i)
                tx, ty = px * tap, py * tap
                bx, by = bx + tx, by + ty
                bxx, byy, bxy = bxx + tx * px, byy + ty * py, bxy + tx * py
            store(blurred, i, bx)
            store(blurred, stride + i, by)
            store(blurred, 2 * stride + i, bxx)
            store(blurred, 3 * stride + i, byy)
            store(blurred, 4 * stride + i, bxy)
        total = 0.0
        base = row * (stride + _SPAN) + _SPAN
        for begin in range(0, out, LANES):
            i = min(begin, out - LANES)
            mx = my = xx = yy = xy = splat(np.float32(0))
            for k in range(WINDOW):
                tap, j = splat(_TAPS[k]), i + 3 * k
                mx, my = mx + load(blurred, j) * tap, my + load(blurred, stride + j) * tap
                xx = xx + load(blurred, 2 * stride + j) * tap
                yy = yy + load(blurred, 3 * stride + j) * tap
                xy = xy + load(blurred, 4 * stride + j) * tap
            a1, b1 = mx * my * 2.0 + _C1, mx * mx + my * my + _C1
            a2, b2 = (xy - mx * my) * 2.0 + _C2, xx - mx * mx + (yy - my * my) + _C2
            inverse = 1.0 / (b1 * b2)
            ssim = a1 * a2 * inverse
            by_square = 0.0 - ssim / b2
            by_product = a1 * inverse * 2.0
            by_mean = (my * a2 * inverse - mx * ssim / b1 - mx * by_square) * 2.0 - my * by_product
            store(d_mean, base + i, by_mean)
            store(d_square, base + i, by_square)
            store(d_product, base + i, by_product)
            if i == begin:
                store(line, 0, sums((ssim,)))
                total += line[0]
            else:  # the last vector overlaps the one before: count its new lanes only
                store(line, 0, ssim)
                for lane in range(begin - i, LANES):
                    total += line[lane]
        totals[row] = total


@kernel
def loss_rows(  # type: ignore[no-untyped-def]
    first, last, x, y, size, l1_weight, ssim_weight, d_mean, d_square, d_product, totals, gradient
):
    """Sums of |x - y| for image rows `first` to `last`, and the rows of the loss gradient.

    `l1_weight` and `ssim_weight` multiply each pixel's derivative.
    """
    height, stride = size
    padded = stride + _SPAN
    mean, square = np.empty(padded, np.float32), np.empty(padded, np.float32)
    product = np.empty(padded, np.float32)
    for row in range(first, last):
        low, high = max(0, row - WINDOW + 1), min(height - WINDOW, row)
        for begin in range(0, padded, LANES):
            i = min(begin, padded - LANES)
            bm = bs = bp = splat(np.float32(0))
            for top in range(low, high + 1):
                tap, at = splat(_TAPS[row - top]), top * padded + i
                bm = bm + load(d_mean, at) * tap
                bs = bs + load(d_square, at) * tap
                bp = bp + load(d_product, at) * tap
            store(mean, i, bm)
            store(square, i, bs)
            store(product, i, bp)
        for begin in range(0, stride, LANES):
            i = min(begin, stride - LANES)
            bm = bs = bp = splat(np.float32(0))
            for k in range(WINDOW):
                tap, j = splat(_TAPS[k]), i + 3 * k
                bm = bm + load(mean, j) * tap
                bs = bs + load(square, j) * tap
                bp = bp + load(product, j) * tap
            at = row * stride + i
            px, py = load(x, at), load(y, at)
            store(gradient, at, (bm + px * bs * 2.0 + py * bp) * ssim_weight)
        total = np.float32(0)
        for at in range(row * stride, (row + 1) * stride):
            difference = x[at] - y[at]
            total += abs(difference)
            gradient[at] += l1_weight * np.sign(difference)
        totals[row] = total


class _PhotometricLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rgb: Tensor, target: Tensor, weight: float, threads: int) -> Tensor:
        height, width, _ = rgb.shape
        x = rgb.detach().contiguous().numpy().reshape(-1)
        y = target.detach().contiguous().numpy().reshape(-1)
        size = (height, 3 * width)
        tops = height - WINDOW + 1
        windows = tops * (3 * width - _SPAN)
        maps = [np.zeros((tops, 3 * width + _SPAN), np.float32) for _ in range(3)]
        ssim, l1 = np.empty(tops), np.empty(height)
        split_work(ssim_rows, tops, threads, x, y, size, ssim, *maps)
        gradient = torch.empty(rgb.shape)
        weights = (np.float32((1 - weight) / len(x)), np.float32(-weight / windows))
        out = gradient.numpy().reshape(-1)
        split_work(loss_rows, height, threads, x, y, size, *weights, *maps, l1, out)
        ctx.gradient = gradient
        value = (1 - weight) * l1.sum() / len(x) + weight * (1 - ssim.sum() / windows)
        return rgb.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> Any:
        return ctx.gradient * scale, None, None, None


def photometric_loss(
    rgb: Tensor, target: Tensor, dssim_weight: float = 0.2, threads: int = 1
) -> Tensor:
    """(1 - λ)·mean |rgb - target| + λ·(1 - SSIM) (Kerbl et al. 2023, eq. 7).

    rgb and target (H, W, 3) float32 in [0, 1], both sides at least 16 pixels; λ is
    `dssim_weight`. The gradient flows to `rgb` only. Raises ValueError for other shapes.
    """
    if rgb.shape != target.shape or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(
            f"rgb is {tuple(rgb.shape)} and target {tuple(target.shape)}; both must be (H, W, 3)."
        )
    if min(rgb.shape[:2]) < MIN_SIDE:
        raise ValueError(
            f"The image is {rgb.shape[1]}×{rgb.shape[0]}; "
            f"the loss needs at least {MIN_SIDE}×{MIN_SIDE}."
        )
    if rgb.is_cuda:
        return photometric_loss_reference(rgb, target, dssim_weight)
    value: Tensor = _PhotometricLoss.apply(rgb, target, dssim_weight, threads)  # type: ignore[no-untyped-call]
    return value
