"""Digital: contrast, elastic deformation, pixelation and JPEG."""

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kdst_adapt.corruptions.types import Image, Rng


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


def contrast(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Shrink the distance of every value to its channel's mean by the factor c."""
    mean = x.mean((0, 1), keepdims=True)
    return (x - mean) * c[0] + mean


def pixelate(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Shrink to the fraction c of the side by box averaging, and enlarge again."""
    from PIL import Image as Pillow

    height, width = x.shape[:2]
    small = (max(1, int(width * c[0])), max(1, int(height * c[0])))
    planes = [
        Pillow.fromarray(np.ascontiguousarray(x[:, :, k]))
        .resize(small, Pillow.Resampling.BOX)
        .resize((width, height), Pillow.Resampling.BOX)
        for k in range(x.shape[2])
    ]
    return np.stack([np.asarray(p) for p in planes], axis=2)
