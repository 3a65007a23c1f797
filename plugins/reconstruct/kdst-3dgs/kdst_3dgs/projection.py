"""Gaussians to screen ellipses and colours, and their gradients back: 16 Gaussians at a time.

A screen ellipse is stored as a conditional Gaussian, y first and then x given y. With
u = dx + k·dy, the opacity at (dx, dy) from its centre is 2^(L - A·u² - C·dy²), a form that has
no cancellation for thin ellipses and costs two operations a pixel.
"""

import numpy as np

from kdst_3dgs.colour import colour, direction, direction_backward, sh_backward, store_basis
from kdst_3dgs.constants import ALPHA_MIN
from kdst_3dgs.ellipse import load_block, log_sigmoid2, shape_of
from kdst_3dgs.ellipse_gradient import shape_backward
from kdst_3dgs.layout import (
    ABS_X,
    ABS_Y,
    BLOCK_ROWS,
    BLUE,
    CENTRE_X,
    CENTRE_Y,
    DEPTH,
    FARTHEST,
    FOCAL_X,
    FOCAL_Y,
    GRADIENT_ROWS,
    GREEN,
    IMAGE_HEIGHT,
    IMAGE_WIDTH,
    KAPPA,
    LOG_SCALE,
    LOGIT,
    MEAN,
    MIDDLE_X,
    MIDDLE_Y,
    MX,
    MY,
    NEAREST,
    QUAT,
    RED,
    RX,
    RY,
    WIDTH,
    YR,
    A,
    C,
    L,
)
from kdst_3dgs.simd import LANES, bits, inlined, kernel, load, log2, maximum, sqrt, store

_HALF_LOG2E = 0.5 * 1.4426950408889634
_LN2 = 0.6931471805599453
_INVERSE_ALPHA_MIN = 1 / ALPHA_MIN
_SLACK = 1e-3  # the ellipses tested are this much larger, so that rounding never cuts a pixel


@kernel
def project_forward(  # type: ignore[no-untyped-def]
    first,
    last,
    means,
    quats,
    log_scales,
    logits,
    sh,
    coefficients,
    cam,
    antialiased,
    splats,
    visible,
):
    """Fill `splats` (N, 16) and `visible` (N,) for the blocks of 16 from `first` to `last`.

    A Gaussian is visible when the ellipse where its alpha exceeds 1/255 meets the image.
    """
    zero = np.float32(0)
    block = np.empty((BLOCK_ROWS, LANES), np.float32)
    rows = np.empty((16, LANES), np.float32)
    out = np.empty((WIDTH, LANES), np.float32)
    for start in range(first * LANES, min(last * LANES, len(means)), LANES):
        load_block(block, means, quats, log_scales, logits, start)
        shape = shape_of(block, cam)
        x, y, z = shape.camera
        xx, xy, yy = shape.cov
        inverse_z, det, det0 = shape.inverse_z, shape.det, shape.det0
        inverse_yy = 1.0 / yy
        opacity = log_sigmoid2(load(block, LOGIT * LANES))
        if antialiased:
            opacity = opacity + log2(maximum(det0 / det, 1e-30)) * 0.5
        reach = opacity + np.float32(np.log2(_INVERSE_ALPHA_MIN) + _SLACK)
        squared = reach * (2.0 * _LN2)
        rx, ry = sqrt(maximum(squared * xx, 0.0)), sqrt(maximum(squared * yy, 0.0))
        mx, my = (
            x * inverse_z * cam[FOCAL_X] + cam[MIDDLE_X],
            y * inverse_z * cam[FOCAL_Y] + cam[MIDDLE_Y],
        )
        seen = (z > cam[NEAREST]) & (cam[FARTHEST] >= z) & (reach > zero)
        seen = seen & (mx + rx > zero) & (cam[IMAGE_WIDTH] >= mx - rx)
        seen = seen & (my + ry > zero) & (cam[IMAGE_HEIGHT] >= my - ry)
        shown = bits(seen & (rx * ry <= 1e18))
        if shown == 0:
            for n in range(start, min(start + LANES, len(means))):
                visible[n] = False
            continue
        store(out, MX * LANES, mx)
        store(out, MY * LANES, my)
        store(out, A * LANES, yy / det * _HALF_LOG2E)
        store(out, KAPPA * LANES, zero - xy * inverse_yy)
        store(out, C * LANES, inverse_yy * _HALF_LOG2E)
        store(out, L * LANES, opacity)
        store(out, DEPTH * LANES, z)
        store(out, RX * LANES, rx)
        store(out, RY * LANES, ry)
        store(out, YR * LANES, xy / xx * rx)
        dx, dy, dz, _ = direction(block, cam)
        store_basis(rows, coefficients, dx, dy, dz)
        for lane in range(min(LANES, len(means) - start)):
            n = start + lane
            visible[n] = (shown >> lane) & 1 == 1
            if visible[n]:
                r, g, b = colour(sh, n, rows, lane, coefficients)
                for i in range(YR + 1):
                    splats[n, i] = out[i, lane]
                splats[n, RED] = max(r, zero)
                splats[n, GREEN] = max(g, zero)
                splats[n, BLUE] = max(b, zero)


@kernel
def project_backward(  # type: ignore[no-untyped-def]
    first,
    last,
    means,
    quats,
    log_scales,
    logits,
    sh,
    coefficients,
    cam,
    antialiased,
    visible,
    slot_range,
    slots,
    d_means,
    d_quats,
    d_log_scales,
    d_logits,
    d_sh,
    d_means2d,
    absolute_means2d,
):
    """Sum the gradients of each Gaussian's tiles in `slots` (S, 16) and carry them to its
    parameters; every row of the `d_` arrays is written."""
    block = np.empty((BLOCK_ROWS, LANES), np.float32)
    rows = np.empty((16, LANES), np.float32)
    weights = np.empty((16, LANES), np.float32)
    total = np.empty(LANES, np.float32)
    moments = np.empty((WIDTH, LANES), np.float32)
    out = np.empty((GRADIENT_ROWS, LANES), np.float32)
    for start in range(first * LANES, min(last * LANES, len(means)), LANES):
        stop = min(start + LANES, len(means))
        some = False
        for n in range(start, stop):
            some = some or visible[n]
        if not some:
            d_means[start:stop] = 0
            d_quats[start:stop] = 0
            d_log_scales[start:stop] = 0
            d_logits[start:stop] = 0
            d_sh[start:stop] = 0
            d_means2d[start:stop] = 0
            absolute_means2d[start:stop] = 0
            continue
        for lane in range(LANES):
            _sum_slots(slots, slot_range, visible, start + lane, stop, total)
            for i in range(ABS_Y + 1):
                moments[i, lane] = total[i]
        load_block(block, means, quats, log_scales, logits, start)
        dx, dy, dz, inverse_distance = direction(block, cam)
        store_basis(rows, coefficients, dx, dy, dz)
        for lane in range(stop - start):
            sh_backward(sh, start + lane, rows, lane, coefficients, moments, weights, d_sh)
        towards = direction_backward(weights, coefficients, dx, dy, dz, inverse_distance)
        shape_backward(block, cam, moments, antialiased, towards, out)
        for lane in range(stop - start):
            n = start + lane
            for i in range(3):
                d_means[n, i] = out[MEAN + i, lane] if visible[n] else 0
                d_log_scales[n, i] = out[LOG_SCALE + i, lane] if visible[n] else 0
            for i in range(4):
                d_quats[n, i] = out[QUAT + i, lane] if visible[n] else 0
            d_logits[n] = out[LOGIT, lane] if visible[n] else 0
            d_means2d[n, 0] = out[CENTRE_X, lane] if visible[n] else 0
            d_means2d[n, 1] = out[CENTRE_Y, lane] if visible[n] else 0
            absolute_means2d[n, 0] = moments[ABS_X, lane]
            absolute_means2d[n, 1] = moments[ABS_Y, lane]


@inlined
def _sum_slots(slots, slot_range, visible, n, stop, total):  # type: ignore[no-untyped-def]
    """Sum the rows of Gaussian n, in tile order, into `total` (16,)."""
    if n >= stop or not visible[n] or slot_range[n, 0] == slot_range[n, 1]:
        total[:] = 0
        return
    accumulated = load(slots, slot_range[n, 0] * WIDTH)
    for slot in range(slot_range[n, 0] + 1, slot_range[n, 1]):
        accumulated = accumulated + load(slots, slot * WIDTH)
    store(total, 0, accumulated)
