"""Front-to-back blending of a tile's splats and its gradient, one row of 16 pixels at a time.

The backward pass goes from back to front. With s = Σ_c v_c·c (v the loss gradient of the pixel)
and the remainder ρ_i = Σ_{j>i} w_j s_j + T_end·(v·background - v_alpha), the gradient of splat
i's opacity is T_i s_i - ρ_i / (1 - alpha_i). From the front, ρ would be a small difference of large
sums behind an opaque splat, whose rounding the division makes up to 1,000 times larger; from the back
it is a sum. Two saved numbers a pixel tell where to begin: the light left, and at which entry of the
tile blending stopped.
"""

import numpy as np

from kdst_3dgs import constants
from kdst_3dgs.binning import TILE_HEIGHT, TILE_WIDTH
from kdst_3dgs.layout import BLUE, DEPTH, GREEN, KAPPA, MX, MY, RED, WIDTH, A, C, L
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
    first_row,
    last_row,
    width,
    height,
    starts,
    entries,
    splats,
    background,
    rgb,
    alpha,
    depth,
    left_over,
    stopped,
):
    """Blend the tiles of tile rows `first_row` to `last_row` into rgb (H, W, 3), alpha (H, W) and,
    unless it is empty, depth (H, W).

    left_over (H, W): the light left at the end; stopped (H, W): how many entries of its tile a pixel
    has been offered when blending stops, a whole number.
    """
    tiles_x = (width + TILE_WIDTH - 1) // TILE_WIDTH
    zero = np.float32(0)
    with_depth = len(depth) > 0
    planes = np.empty((5, _PIXELS), np.float32)
    T, red, green, blue, far = planes[0], planes[1], planes[2], planes[3], planes[4]
    ends = np.empty(_PIXELS, np.float32)
    shining = np.empty(TILE_HEIGHT, np.int64)
    for tile_y in range(first_row, last_row):
        for tile_x in range(tiles_x):
            live = _load_transmittance(tile_x, tile_y, width, height, T)
            red[:] = 0
            green[:] = 0
            blue[:] = 0
            far[:] = 0
            tile = tile_y * tiles_x + tile_x
            ends[:] = np.float32(starts[tile + 1] - starts[tile])
            for y in range(TILE_HEIGHT):
                shining[y] = bits(load(T, y * TILE_WIDTH) > zero)
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
                    still = bits(after > zero)
                    if still != shining[y]:
                        shining[y] = still
                        here = splat(np.float32(entry - starts[tile]))
                        before = load(ends, at)
                        ended = (zero >= after) & (before > here)
                        store(ends, at, where(ended, here, before))
                        if still == 0:
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
                    left_over[py, px] = rest
                    stopped[py, px] = ends[i]
                    if with_depth:
                        depth[py, px] = far[i]


@inlined
def _load_stops(tile_x, tile_y, width, height, stopped, stops, row_stops):  # type: ignore[no-untyped-def]
    """Where blending stopped in each pixel of a tile, 0 outside the image, and the last of each row;
    returns the last of all."""
    last = np.float32(0)
    stops[:] = 0
    row_stops[:] = 0
    for y in range(min(TILE_HEIGHT, height - tile_y * TILE_HEIGHT)):
        for x in range(min(TILE_WIDTH, width - tile_x * TILE_WIDTH)):
            stop = stopped[tile_y * TILE_HEIGHT + y, tile_x * TILE_WIDTH + x]
            stops[y * TILE_WIDTH + x] = stop
            row_stops[y] = max(row_stops[y], stop)
        last = max(last, row_stops[y])
    return int(last)


@inlined
def _rows_beyond(row_stops, entry):  # type: ignore[no-untyped-def]
    """Bit y is set when some pixel of row y was still blending at an entry of the tile."""
    beyond = 0
    for first in range(0, TILE_HEIGHT, LANES):
        beyond |= bits(load(row_stops, first) > np.float32(entry)) << first
    return beyond


@kernel
def composite_backward(  # type: ignore[no-untyped-def]
    first_row,
    last_row,
    width,
    height,
    starts,
    entries,
    splats,
    background,
    left_over,
    stopped,
    d_rgb,
    d_alpha,
    d_depth,
    slots,
):
    """Write the gradients of each tile entry (columns of layout.py) to its row of `slots`."""
    tiles_x = (width + TILE_WIDTH - 1) // TILE_WIDTH
    zero, one = np.float32(0), np.float32(1)
    with_depth = len(d_depth) > 0
    planes = np.empty((7, _PIXELS), np.float32)
    T, rest, v_far = planes[0], planes[1], planes[2]
    v_red, v_green, v_blue, stops = planes[3], planes[4], planes[5], planes[6]
    row_stops = np.empty(TILE_HEIGHT, np.float32)
    for tile_y in range(first_row, last_row):
        for tile_x in range(tiles_x):
            last = _load_stops(tile_x, tile_y, width, height, stopped, stops, row_stops)
            T[:] = 0
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
                    T[i] = left_over[py, px]
                    rest[i] = T[i] * (
                        v_red[i] * background[0]
                        + v_green[i] * background[1]
                        + v_blue[i] * background[2]
                        - d_alpha[py, px]
                    )
                    if with_depth:
                        v_far[i] = d_depth[py, px]
            tile = tile_y * tiles_x + tile_x
            left = np.float32(tile_x * TILE_WIDTH) + np.float32(0.5)
            top = np.float32(tile_y * TILE_HEIGHT) + np.float32(0.5)
            for skipped in range(starts[tile] + last, starts[tile + 1]):
                store(slots, entries[skipped, 1] * WIDTH, splat(zero))
            for number in range(last - 1, -1, -1):
                entry = starts[tile] + number
                s = splats[entries[entry, 0]]
                mx, my = s[MX] - left, s[MY] - top
                rows = _rows_met(s, mx, my) & _rows_beyond(row_stops, number)
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
                    kept = met & (load(stops, at) > np.float32(number))
                    through = splat(one) / (one - a)
                    after = load(T, at)
                    t = after * through
                    w = where(kept, t * a, zero)
                    vr, vg, vb = load(v_red, at), load(v_green, at), load(v_blue, at)
                    shade = vr * s[RED] + vg * s[GREEN] + vb * s[BLUE]
                    if with_depth:
                        vf = load(v_far, at)
                        shade = shade + vf * s[DEPTH]
                        far = far + w * vf
                    r = load(rest, at)
                    store(rest, at, r + w * shade)
                    g = a * (t * shade - r * through)
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
                    store(T, at, where(kept, t, after))
                dx = iota() - mx
                abs_x = abs_x * (s[A] * _TWO_LN2)
                gx = g0 * dx
                parts = (g0, gx, gx * dx, gy, gy * dx, gyy, red, green, blue, far, abs_x, abs_y)
                store(slots, entries[entry, 1] * WIDTH, sums(parts))
