"""Which splats touch which tile of the image, nearest first: one depth sort, one counting sort."""

import numpy as np

from kdst_3dgs.layout import DEPTH, KAPPA, MX, MY, RY, YR, A, C, L
from kdst_3dgs.simd import LANES, inlined, kernel

TILE_WIDTH = LANES
TILE_HEIGHT = 32  # rows are skipped one by one, so tall tiles cost no pixel, and fewer entries

_LOG2_255 = np.float32(np.log2(255.0) + 1e-3)
_SLACK = np.float32(1e-3)  # px
_DIGIT_BITS = 11
_DIGITS = 1 << _DIGIT_BITS


@kernel
def depth_order(splats, visible):  # type: ignore[no-untyped-def]
    """Indices of the visible splats, nearest first, equal depths in index order: a radix sort.

    Positive floats compare like their bit patterns, 31 bits: three digits of 11.
    """
    count = 0
    for n in range(len(visible)):
        count += visible[n]
    order, other = np.empty(count, np.int32), np.empty(count, np.int32)
    depths = np.empty(count, np.float32)
    k = 0
    for n in range(len(visible)):
        if visible[n]:
            order[k] = n
            depths[k] = splats[n, DEPTH]
            k += 1
    keys, other_keys = depths.view(np.uint32), np.empty(count, np.uint32)
    ends = np.zeros((3, _DIGITS), np.int64)
    for k in range(count):
        for digit in range(3):
            ends[digit, (keys[k] >> np.uint32(digit * _DIGIT_BITS)) & np.uint32(_DIGITS - 1)] += 1
    for digit in range(3):
        total = 0
        for value in range(_DIGITS):
            size = ends[digit, value]
            ends[digit, value] = total
            total += size
        for k in range(count):
            key = keys[k]
            value = (key >> np.uint32(digit * _DIGIT_BITS)) & np.uint32(_DIGITS - 1)
            place = ends[digit, value]
            ends[digit, value] = place + 1
            other[place] = order[k]
            other_keys[place] = key
        order, other = other, order
        keys, other_keys = other_keys, keys
    return order


@inlined
def _column_range(splat, top, bottom):  # type: ignore[no-untyped-def]
    """Pixel columns (first, last) that the ellipse meets between two heights, by its centre."""
    low = max(top, -splat[RY])
    high = min(bottom, splat[RY])
    if low > high:
        return 1, 0
    k, a, c, reach = splat[KAPPA], splat[A], splat[C], splat[L] + _LOG2_255
    right = min(max(splat[YR], low), high)
    left = min(max(-splat[YR], low), high)
    zero = np.float32(0)
    x1 = np.sqrt(max((reach - c * right * right) / a, zero)) - k * right + _SLACK
    x0 = -np.sqrt(max((reach - c * left * left) / a, zero)) - k * left - _SLACK
    half = np.float32(0.5)
    limit = np.float32(1e8)
    first = int(np.ceil(max(min(splat[MX] + x0 - half, limit), -limit)))
    last = int(np.floor(max(min(splat[MX] + x1 - half, limit), -limit)))
    return first, last


@inlined
def _tile_rows(splat, tiles_y):  # type: ignore[no-untyped-def]
    """Tile rows (first, last) that the ellipse meets."""
    half = np.float32(0.5)
    limit = np.float32(1e8)
    top = int(np.ceil(max(splat[MY] - splat[RY] - half - _SLACK, -limit)))
    bottom = int(np.floor(min(splat[MY] + splat[RY] - half + _SLACK, limit)))
    return max(top // TILE_HEIGHT, 0), min(bottom // TILE_HEIGHT, tiles_y - 1)


@inlined
def _band(splat, tile_row):  # type: ignore[no-untyped-def]
    """Heights of the first and last pixel centres of a tile row, from the splat's centre."""
    top = np.float32(tile_row * TILE_HEIGHT) + np.float32(0.5) - splat[MY]
    return top, top + np.float32(TILE_HEIGHT - 1)


@kernel
def bin_splats(splats, visible, order, width, height):  # type: ignore[no-untyped-def]
    """The splats of each tile, front to back.

    Returns `starts` (T + 1,): the entries of tile t are starts[t] to starts[t + 1];
    `entries` (E, 2): splat and slot of each; `slot_range` (N, 2): the slots of a splat, one a
    tile, so that gradients can be written by tile and summed by splat in a fixed order.
    """
    tiles_x = (width + TILE_WIDTH - 1) // TILE_WIDTH
    tiles_y = (height + TILE_HEIGHT - 1) // TILE_HEIGHT
    slot_range = np.empty((len(visible), 2), np.int64)
    starts = np.zeros(tiles_x * tiles_y + 2, np.int64)
    capacity = len(order) * 4 + 1024
    tile_of_slot = np.empty(capacity, np.int32)
    slots = 0
    for n in order:
        splat = splats[n]
        slot_range[n, 0] = slots
        first_row, last_row = _tile_rows(splat, tiles_y)
        for row in range(first_row, last_row + 1):
            top, bottom = _band(splat, row)
            first, last = _column_range(splat, top, bottom)
            if last < first or last < 0 or first >= width:
                continue
            left, right = max(first, 0) // TILE_WIDTH, min(last, width - 1) // TILE_WIDTH
            if slots + tiles_x > capacity:
                capacity = 2 * capacity + tiles_x
                larger = np.empty(capacity, np.int32)
                larger[:slots] = tile_of_slot[:slots]
                tile_of_slot = larger
            for tile in range(row * tiles_x + left, row * tiles_x + right + 1):
                tile_of_slot[slots] = tile
                starts[tile + 2] += 1
                slots += 1
        slot_range[n, 1] = slots
    for tile in range(2, len(starts)):
        starts[tile] += starts[tile - 1]
    entries = np.empty((slots, 2), np.int32)
    for n in order:
        for slot in range(slot_range[n, 0], slot_range[n, 1]):
            place = starts[tile_of_slot[slot] + 1]
            starts[tile_of_slot[slot] + 1] = place + 1
            entries[place, 0] = n
            entries[place, 1] = slot
    return starts[:-1], entries, slot_range
