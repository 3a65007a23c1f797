"""Nine of the fifteen common corruptions: weather, motion, lenses and files, with all sets of parameters.

They follow the published descriptions. Frost is drawn from a fractal in place of the photographs of ice
that the published data sets are made with, so its images differ from theirs.
"""

import io
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating[Any]]
"""(H, W, C) in [0, 1]."""
Rng = np.random.Generator
Severities = tuple[tuple[float, ...], ...]
Effect = tuple[Callable[..., Image], Severities, Severities, Severities]
"""Function, and the five severities of CIFAR-10-C, of Tiny-ImageNet-C and of ImageNet-C."""


def plasma(size: int, decay: float, rng: Rng) -> NDArray[np.float64]:
    """Return a (size, size) diamond-square fractal scaled to [0, 1]; it wraps around at the edges."""
    field = np.zeros((size, size))
    step, wobble = size, 100.0

    def noisy(total: NDArray[np.float64]) -> NDArray[np.float64]:
        return total / 4 + wobble * rng.uniform(-wobble, wobble, total.shape)

    while step > 1:
        half = step // 2
        corners = field[::step, ::step]
        pairs = corners + np.roll(corners, -1, 0)
        field[half::step, half::step] = noisy(pairs + np.roll(pairs, -1, 1))
        centres = field[half::step, half::step]
        across = corners + np.roll(corners, -1, 0)
        field[half::step, ::step] = noisy(across + centres + np.roll(centres, 1, 1))
        down = corners + np.roll(corners, -1, 1)
        field[::step, half::step] = noisy(down + centres + np.roll(centres, 1, 0))
        step, wobble = half, wobble / decay
    field -= field.min()
    return field / field.max()


def shot_noise(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Count photons: Poisson noise of c photons for a white pixel."""
    return rng.poisson(x * c[0]) / c[0]


def glass_blur(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Blur by σ = c0, show in each pixel one that is up to c1 away, c2 times, and blur again."""
    from scipy.ndimage import gaussian_filter

    sigma, reach, times = c[0], int(c[1]), int(c[2])
    out = np.array(gaussian_filter(x, (sigma, sigma, 0)))
    height, width = x.shape[:2]
    for _ in range(times):
        moves = rng.integers(-reach, reach, (2, height, width))
        rows = np.clip(np.arange(height)[:, None] + moves[0], 0, height - 1)
        columns = np.clip(np.arange(width)[None] + moves[1], 0, width - 1)
        out = out[rows, columns]
    return np.array(gaussian_filter(out, (sigma, sigma, 0)))


def motion_blur(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Smear along a random direction within 45° of the horizontal, by half a Gaussian of σ = c1."""
    return _smear(x, c[0], c[1], rng.uniform(-45, 45))


def _smear(x: Image, radius: float, sigma: float, degrees: float) -> Image:
    """Average the image along a direction, weights falling off over `radius` pixels on one side."""
    steps = np.arange(int(2 * radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    kept = weights[weights > 1e-4] / weights[weights > 1e-4].sum()
    dy, dx = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    reach = len(kept) + 1
    planes = np.moveaxis(x, -1, 0).astype(np.float64)
    planes = np.pad(planes, ((0, 0), (reach, reach), (reach, reach)), "edge")
    out = np.zeros((x.shape[2], *x.shape[:2]))
    for k, weight in zip(steps, kept, strict=False):
        moved = _moved(planes, (reach - k * dy, reach - k * dx), x.shape[:2])
        out += weight * moved.astype(x.dtype, copy=False)
    return np.moveaxis(out, 0, -1)


def _moved(
    planes: NDArray[np.float64], start: tuple[float, float], size: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return planes (C, height, width) cut out from a place between pixels, by linear interpolation."""
    (top, left), (height, width) = (int(s) for s in start), size
    y, x = start[0] - top, start[1] - left
    rows = planes[:, top : top + height, left : left + width + 1] * (1 - y)
    if y:
        rows += planes[:, top + 1 : top + height + 1, left : left + width + 1] * y
    out = rows[:, :, :-1] * (1 - x)
    if x:
        out += rows[:, :, 1:] * x
    return out


def zoom_blur(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Average the image with itself enlarged by factors from 1 up to below c0 in steps of c1."""
    from kdst_adapt.enlarge import enlarged

    factors = np.arange(1, c[0], c[1])
    return (x + sum(enlarged(x, f) for f in factors)) / (len(factors) + 1)


def snow(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Let smeared flakes fall over a whitened image."""
    from kdst_adapt.enlarge import enlarged

    mean, spread, zoom, threshold, radius, sigma, kept = c
    flakes = enlarged(rng.normal(mean, spread, (*x.shape[:2], 1)), zoom)
    flakes = np.where(flakes < threshold, 0, flakes)
    flakes = np.clip(_smear(flakes, radius, sigma, rng.uniform(-135, -45)), 0, 1)
    white = np.maximum(x, x.mean(2, keepdims=True) * 1.5 + 0.5)
    return kept * x + (1 - kept) * white + flakes + np.rot90(flakes, 2)


def frost(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Blend with white crystals, the ridges of a fractal."""
    size = 1 << (max(x.shape[:2]) - 1).bit_length()
    ridges = 1 - np.abs(2 * plasma(size, 1.6, rng) - 1)
    ice = ridges[: x.shape[0], : x.shape[1], None] ** 2
    return c[0] * x + c[1] * ice


def brightness(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Raise the value of hue, saturation and value by c."""
    value = x.max(2, keepdims=True)
    raised = np.clip(value + c[0], 0, 1)
    return np.where(value > 0, x * raised / np.maximum(value, 1e-12), raised)


def elastic_transform(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Move three corners by up to c2 of the side, then bend by noise of height c0 smoothed by c1 sides."""
    from scipy.ndimage import map_coordinates

    height, width = x.shape[:2]
    side = min(height, width)
    centre, third = np.array([height, width]) // 2, max(1, side // 3)
    square = np.array(
        [centre + third, [centre[0] + third, centre[1] - third], centre - third], float
    )
    target = square + rng.uniform(-c[2] * side, c[2] * side, square.shape)
    ones = np.ones((3, 1))
    affine = np.linalg.solve(np.hstack([target, ones]), square)
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    where = np.stack([rows, columns, np.ones_like(rows)], -1) @ affine
    for axis in range(2):
        noise = rng.uniform(-1, 1, (height, width))
        bend = _smooth(noise, c[1] * side) if c[1] else noise
        where[..., axis] += bend * c[0] * side
    grid = where.transpose(2, 0, 1)
    planes = [map_coordinates(x[:, :, k], grid, order=1, mode="reflect") for k in range(x.shape[2])]
    return np.stack(planes, axis=2)


def _smooth(noise: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Return noise (H, W) smoothed by a Gaussian cut at 3σ; wide ones are products with matrices."""
    from scipy.ndimage import gaussian_filter

    if sigma < WIDE:
        return np.asarray(gaussian_filter(noise, sigma, mode="reflect", truncate=3))
    rows, columns = (_gaussian_matrix(side, sigma) for side in noise.shape)
    return rows @ noise @ columns.T


WIDE = 8.0
"""Standard deviation in pixels from which on a matrix smooths faster than a filter."""


@lru_cache(8)
def _gaussian_matrix(side: int, sigma: float) -> NDArray[np.float64]:
    """Return the matrix (side, side) that smooths along one axis."""
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(np.eye(side), sigma, 0, mode="reflect", truncate=3))


def jpeg_compression(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Write as JPEG of quality c and read again."""
    from PIL import Image as Pillow

    pixels = (np.clip(x, 0, 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(pixels if x.shape[2] == 3 else pixels[:, :, 0]).save(
        buffer, "JPEG", quality=int(c[0])
    )
    with Pillow.open(buffer) as file:
        return np.asarray(file, np.float64).reshape(x.shape) / 255


EFFECTS: dict[str, Effect] = {
    "shot_noise": (
        shot_noise,
        ((500,), (250,), (100,), (75,), (50,)),
        ((250,), (100,), (50,), (30,), (15,)),
        ((60,), (25,), (12,), (5,), (3,)),
    ),
    "glass_blur": (
        glass_blur,
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion_blur": (
        motion_blur,
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "zoom_blur": (
        zoom_blur,
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    "snow": (
        snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    "frost": (
        frost,
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
        ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    ),
    "brightness": (
        brightness,
        ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
        ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
        ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    ),
    "elastic_transform": (
        elastic_transform,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
        ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
    ),
    "jpeg_compression": (
        jpeg_compression,
        ((80,), (65,), (58,), (50,), (40,)),
        ((65,), (58,), (50,), (40,), (25,)),
        ((25,), (18,), (15,), (10,), (7,)),
    ),
}
