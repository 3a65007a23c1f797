"""The fifteen common corruptions of Hendrycks and Dietterich (2019), applied to one image at a time.

Each has five severities and three published sets of parameters: CIFAR-10-C's, made for 32×32 images,
Tiny-ImageNet-C's, made for 64×64, and ImageNet-C's, made for 224×224. Images whose shorter side is
below 48 get the first, those below 128 the second.
A corruption draws from a generator of its own for each image, so that the result depends on the seed,
the image's index, the type and the severity, and on nothing else.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from kdst_adapt.corruption_effects import EFFECTS, Effect, Image, Rng, Severities, plasma
from kdst_core.errors import KdstError, did_you_mean


def gaussian_noise(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Add normal noise of standard deviation c."""
    return x + rng.normal(0, c[0], x.shape)


def impulse_noise(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Set a fraction c of the values to 0 or 1, half each."""
    flipped = rng.random(x.shape) < c[0]
    return np.where(flipped, rng.random(x.shape) < 0.5, x)


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


def fog(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Blend with a plasma fractal of strength c0 and roughness decay c1."""
    size = 1 << (max(x.shape[:2]) - 1).bit_length()
    haze = plasma(size, c[1], rng)[: x.shape[0], : x.shape[1], None]
    top = x.max()
    return (x + c[0] * haze) * top / (top + c[0])


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


CORRUPTIONS: dict[str, Effect] = {
    "gaussian_noise": (
        gaussian_noise,
        ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
        ((0.04,), (0.08,), (0.12,), (0.15,), (0.18,)),
        ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    ),
    "impulse_noise": (
        impulse_noise,
        ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
        ((0.01,), (0.02,), (0.05,), (0.08,), (0.14,)),
        ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    ),
    "defocus_blur": (
        defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "fog": (
        fog,
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "contrast": (
        contrast,
        ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
        ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
        ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    ),
    "pixelate": (
        pixelate,
        ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
        ((0.9,), (0.8,), (0.7,), (0.6,), (0.5,)),
        ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
    ),
    **EFFECTS,
}
"""Function, and the five severities of CIFAR-10-C, of Tiny-ImageNet-C and of ImageNet-C."""

MIDDLE, LARGE = 48, 128
"""Shorter sides from which on images get Tiny-ImageNet-C's and ImageNet-C's parameters."""

DIGITS: dict[str, Severities] = {
    "gaussian_noise": ((0.2,), (0.3,), (0.4,), (0.5,), (0.6,)),
    "impulse_noise": ((0.07,), (0.14,), (0.21,), (0.28,), (0.35,)),
    "defocus_blur": ((2, 0.5), (3, 0.5), (4, 0.5), (5, 0.5), (6, 0.5)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "contrast": ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
    "pixelate": ((0.4,), (0.32,), (0.25,), (0.2,), (0.16,)),
}
"""Severities for the embedded digits: 8×8 scans enlarged to 32×32 have broad, high-contrast strokes,
which noise, blur and pixelation made for photographs leave readable."""


def check(name: str) -> str:
    """Return the name of a corruption; KdstError when there is none."""
    if name not in CORRUPTIONS:
        known = ", ".join(CORRUPTIONS)
        raise KdstError(f"no corruption {name!r}.{did_you_mean(name, CORRUPTIONS)} Known: {known}")
    return name


def severities(name: str, shape: tuple[int, ...]) -> Severities:
    """Return the published parameters for images of shape (H, W, C)."""
    _, cifar, tiny, imagenet = CORRUPTIONS[check(name)]
    side = min(shape[:2])
    return cifar if side < MIDDLE else tiny if side < LARGE else imagenet


def corrupt(
    x: Image, name: str, severity: int, *, seed: int, index: int, table: Severities | None = None
) -> Image:
    """Return image (H, W, C) in [0, 1] under a corruption, clipped and in 8-bit steps.

    severity: 1 to 5. index: the image's place in its data set. table: parameters of the five
    severities, by default the published ones for the image's size. The values are those an 8-bit
    file would hold, as in the published data sets.
    """
    function = CORRUPTIONS[check(name)][0]
    parameters = (table or severities(name, x.shape))[severity - 1]
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), severity, index])
    out = np.clip(function(x, parameters, rng), 0, 1)
    return (np.floor(out * 255 + 1e-4) / 255).astype(np.float32)
