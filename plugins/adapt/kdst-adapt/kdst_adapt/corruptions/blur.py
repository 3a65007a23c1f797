"""Blur: out of focus, through glass, by motion, by zooming."""

import numpy as np
from numpy.typing import NDArray

from kdst_adapt.corruptions.types import Image, Rng


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
    return smear(x, c[0], c[1], rng.uniform(-45, 45))


def smear(x: Image, radius: float, sigma: float, degrees: float) -> Image:
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
    from kdst_adapt.corruptions.enlarge import enlarged

    factors = np.arange(1, c[0], c[1])
    return (x + sum(enlarged(x, f) for f in factors)) / (len(factors) + 1)


def defocus_blur(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Convolve with a disk of radius c0 whose edge is softened by a Gaussian of c1."""
    from scipy.ndimage import convolve

    disk = _disk(*c)
    if np.count_nonzero(disk) < SPARSE:
        return convolve(x, disk[:, :, None], mode="mirror")
    return _convolved(x, disk)


SPARSE = 64
"""Kernels with fewer values are summed directly, others go through Fourier transforms."""


def _convolved(x: Image, kernel: NDArray[np.float64]) -> Image:
    """Return the convolution with a square kernel by Fourier transforms, edges mirrored."""
    from scipy import fft

    reach = len(kernel) // 2
    height, width = x.shape[:2]
    if reach >= min(height, width):
        from scipy.ndimage import convolve

        return convolve(x, kernel[:, :, None], mode="mirror")
    planes = np.pad(
        np.moveaxis(x, -1, 0).astype(np.float64), ((0, 0), *[(reach, reach)] * 2), "reflect"
    )
    size = [fft.next_fast_len(n, real=True) for n in planes.shape[1:]]
    product = fft.rfft2(planes, size) * fft.rfft2(kernel, size)
    out = fft.irfft2(product, size)[:, 2 * reach :, 2 * reach :][:, :height, :width]
    return np.moveaxis(out, 0, -1).astype(x.dtype)


def _disk(radius: float, alias: float) -> NDArray[np.float64]:
    """Return a normalised, antialiased disk kernel."""
    from scipy.ndimage import convolve1d

    reach = 8 if radius <= 8 else int(radius)
    axis = np.arange(-reach, reach + 1)
    disk = (axis[:, None] ** 2 + axis[None] ** 2 <= radius**2).astype(float)
    half = 1 if radius <= 8 else 2
    tap = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * alias**2))
    for side in (0, 1):
        disk = convolve1d(disk / disk.sum(), tap / tap.sum(), axis=side, mode="mirror")
    return disk
