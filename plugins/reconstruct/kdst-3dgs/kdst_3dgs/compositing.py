"""Front-to-back blending of a tile's splats and its gradient, one row of 16 pixels at a time.

The backward pass replays the forward one. With s = Σ_c v_c·c (v the loss gradient of the pixel)
and the remainder ρ_i = Σ_{j>i} w_j s_j + T_end·(v·background - v_alpha), the gradient of splat
i's opacity is T_i s_i - ρ_i / (1 - alpha_i): one saved number a pixel and no reversed list.
"""

import numpy as np

from kdst_3dgs import constants
from kdst_3dgs.binning import TILE_HEIGHT, TILE_WIDTH
from kdst_3dgs.projection import BLUE, DEPTH, GREEN, KAPPA, MX, MY, RED, WIDTH, A, C, L
from kdst_3dgs.simd import (
    LANES,
    absolute,
    bits,
    exp2,
    inlined,
    iota,
    kernel,
    load,
    lowest_bit,
    maximum,
    minimum,
    splat,
    store,
    sums,
    where,
)

_ALPHA_MAX = np.float32(constants.ALPHA_MAX)
_T_MIN = np.float32(constants.TRANSMITTANCE_MIN)
_E_MIN = np.float32(np.log2(constants.ALPHA_MIN))  # log2 alpha under which a pixel is skipped
_E_MIN_SLACK = np.float32(np.log2(constants.ALPHA_MIN) - 1e-3)
_TWO_LN2 = np.float32(2 * np.log(2))
_PIXELS = TILE_HEIGHT * TILE_WIDTH


@inlined
def _rows_met(s, mx, my):  # type: ignore[no-untyped-def]
    """Bit y is set when the ellipse meets row y of the tile: its nearest point there is inside."""
    zero = np.float32(0)
    met = 0
    for first in range(0, TILE_HEIGHT, LANES):
        dy = iota() + (np.float32(first) - my)
        crest = dy * (zero - s[KAPPA])
        u = minimum(maximum(crest, zero - mx), np.float32(TILE_WIDTH - 1) - mx) - crest
        e = dy * dy * (zero - s[C]) + s[L] - u * u * s[A]
        met |= bits(e >= _E_MIN_SLACK) << first
    return met


@inlined
def _load_transmittance(tile_x, tile_y, width, height, T):  # type: ignore[no-untyped-def]
    """T = 1 inside the image and -1 (finished) outside; bit y of the result: row y has pixels."""
    live = 0
    for y in range(TILE_HEIGHT):
        inside = tile_y * TILE_HEIGHT + y < height
        columns = min(width - tile_x * TILE_WIDTH, TILE_WIDTH) if inside else 0
        for x in range(TILE_WIDTH):
            T[y * TILE_WIDTH + x] = np.float32(1) if x < columns else np.float32(-1)
        live |= int(inside) << y
    return live


@kernel
def composite_forward(  # type: ignore[no-untyped-def]
    first_row, last_row, width, height, starts, entries, splats, background, rgb, alpha, depth
):
    """Blend the tiles of tile rows `first_row` to `last_row` into rgb (H, W, 3), alpha (H, W) and,
    unless it is empty, depth (H, W)."""
    tiles_x = (width + TILE_WIDTH - 1) // TILE_WIDTH
    zero = np.float32(0)
    with_depth = len(depth) > 0
    planes = np.empty((5, _PIXELS), np.float32)
    T, red, green, blue, far = planes[0], planes[1], planes[2], planes[3], planes[4]
    for tile_y in range(first_row, last_row):
        for tile_x in range(tiles_x):
            live = _load_transmittance(tile_x, tile_y, width, height, T)
            red[:] = 0
            green[:] = 0
            blue[:] = 0
            far[:] = 0
            tile = tile_y * tiles_x + tile_x
            left = np.float32(tile_x * TILE_WIDTH) + np.float32(0.5)
            top = np.float32(tile_y * TILE_HEIGHT) + np.float32(0.5)
            for entry in range(starts[tile], starts[tile + 1]):
                s = splats[entries[entry, 0]]
                mx, my = s[MX] - left, s[MY] - top
                rows = _rows_met(s, mx, my) & live
                while rows != 0:
                    y = lowest_bit(rows)
                    rows &= rows - 1
                    dy = np.float32(y) - my
                    u = iota() + (s[KAPPA] * dy - mx)
                    e = u * u * (zero - s[A]) + (s[L] - s[C] * dy * dy)
                    met = e >= _E_MIN
                    a = minimum(exp2(e), _ALPHA_MAX)
                    at = y * TILE_WIDTH
                    t = load(T, at)
                    after = t - t * a
                    kept = met & (after > _T_MIN)
                    w = where(kept, t * a, zero)
                    store(red, at, load(red, at) + w * s[RED])
                    store(green, at, load(green, at) + w * s[GREEN])
                    store(blue, at, load(blue, at) + w * s[BLUE])
                    if with_depth:
                        store(far, at, load(far, at) + w * s[DEPTH])
                    after = where(kept, after, where(met, zero - absolute(t), t))
                    store(T, at, after)
                    if bits(after > zero) == 0:
                        live &= ~(1 << y)
                if live == 0:
                    break
            for y in range(min(TILE_HEIGHT, height - tile_y * TILE_HEIGHT)):
                py = tile_y * TILE_HEIGHT + y
                for x in range(min(TILE_WIDTH, width - tile_x * TILE_WIDTH)):
                    px, i = tile_x * TILE_WIDTH + x, y * TILE_WIDTH + x
                    rest = abs(T[i])
                    rgb[py, px, 0] = red[i] + rest * background[0]
                    rgb[py, px, 1] = green[i] + rest * background[1]
                    rgb[py, px, 2] = blue[i] + rest * background[2]
                    alpha[py, px] = np.float32(1) - rest
                    if with_depth:
                        depth[py, px] = far[i]


@kernel
def composite_backward(  # type: ignore[no-untyped-def]
    first_row,
    last_row,
    width,
    height,
    starts,
    entries,
    splats,
    rgb,
    alpha,
    depth,
    d_rgb,
    d_alpha,
    d_depth,
    slots,
):
    """Write the gradients of each tile entry (columns of projection.py) to its row of `slots`."""
    tiles_x = (width + TILE_WIDTH - 1) // TILE_WIDTH
    zero, one = np.float32(0), np.float32(1)
    with_depth = len(depth) > 0
    planes = np.empty((6, _PIXELS), np.float32)
    T, rest, v_far = planes[0], planes[1], planes[2]
    v_red, v_green, v_blue = planes[3], planes[4], planes[5]
    for tile_y in range(first_row, last_row):
        for tile_x in range(tiles_x):
            live = _load_transmittance(tile_x, tile_y, width, height, T)
            rest[:] = 0
            v_red[:] = 0
            v_green[:] = 0
            v_blue[:] = 0
            v_far[:] = 0
            for y in range(min(TILE_HEIGHT, height - tile_y * TILE_HEIGHT)):
                py = tile_y * TILE_HEIGHT + y
                for x in range(min(TILE_WIDTH, width - tile_x * TILE_WIDTH)):
                    px, i = tile_x * TILE_WIDTH + x, y * TILE_WIDTH + x
                    v_red[i], v_green[i], v_blue[i] = d_rgb[py, px]
                    rest[i] = (
                        v_red[i] * rgb[py, px, 0]
                        + v_green[i] * rgb[py, px, 1]
                        + v_blue[i] * rgb[py, px, 2]
                        - d_alpha[py, px] * (one - alpha[py, px])
                    )
                    if with_depth:
                        v_far[i] = d_depth[py, px]
                        rest[i] += v_far[i] * depth[py, px]
            tile = tile_y * tiles_x + tile_x
            left = np.float32(tile_x * TILE_WIDTH) + np.float32(0.5)
            top = np.float32(tile_y * TILE_HEIGHT) + np.float32(0.5)
            for entry in range(starts[tile], starts[tile + 1]):
                s = splats[entries[entry, 0]]
                mx, my = s[MX] - left, s[MY] - top
                rows = _rows_met(s, mx, my) & live
                g0 = gy = gyy = red = green = blue = far = abs_x = abs_y = splat(zero)
                slope, steep = s[KAPPA] * s[A] * _TWO_LN2, s[C] * _TWO_LN2
                while rows != 0:
                    y = lowest_bit(rows)
                    rows &= rows - 1
                    dy = np.float32(y) - my
                    u = iota() + (s[KAPPA] * dy - mx)
                    e = u * u * (zero - s[A]) + (s[L] - s[C] * dy * dy)
                    met = e >= _E_MIN
                    free = exp2(e)
                    a = minimum(free, _ALPHA_MAX)
                    at = y * TILE_WIDTH
                    t = load(T, at)
                    after = t - t * a
                    kept = met & (after > _T_MIN)
                    w = where(kept, t * a, zero)
                    vr, vg, vb = load(v_red, at), load(v_green, at), load(v_blue, at)
                    shade = vr * s[RED] + vg * s[GREEN] + vb * s[BLUE]
                    if with_depth:
                        vf = load(v_far, at)
                        shade = shade + vf * s[DEPTH]
                        far = far + w * vf
                    r = load(rest, at) - w * shade
                    store(rest, at, r)
                    g = a * (t * shade - r / (one - a))
                    g = where(kept & (free <= _ALPHA_MAX), g, zero)
                    g0 = g0 + g
                    gy = gy + g * dy
                    gyy = gyy + g * (dy * dy)
                    red = red + w * vr
                    green = green + w * vg
                    blue = blue + w * vb
                    gu = g * u
                    abs_x = abs_x + absolute(gu)
                    abs_y = abs_y + absolute(gu * slope + g * (steep * dy))
                    after = where(kept, after, where(met, zero - absolute(t), t))
                    store(T, at, after)
                    if bits(after > zero) == 0:
                        live &= ~(1 << y)
                dx = iota() - mx
                abs_x = abs_x * (s[A] * _TWO_LN2)
                gx = g0 * dx
                parts = (g0, gx, gx * dx, gy, gy * dx, gyy, red, green, blue, far, abs_x, abs_y)
                store(slots, entries[entry, 1] * WIDTH, sums(parts))
                if live == 0:
                    for skipped in range(entry + 1, starts[tile + 1]):
                        store(slots, entries[skipped, 1] * WIDTH, splat(zero))
                    break
