"""Weather: snow, frost, fog and brightness.

Frost is drawn from a fractal in place of the photographs of ice that the published data sets are made
with, so its images differ from theirs.
"""

import numpy as np
from numpy.typing import NDArray

from kdst_adapt.corruptions.blur import smear
from kdst_adapt.corruptions.types import Image, Rng


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


def snow(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Let smeared flakes fall over a whitened image."""
    from kdst_adapt.corruptions.enlarge import enlarged

    mean, spread, zoom, threshold, radius, sigma, kept = c
    flakes = enlarged(rng.normal(mean, spread, (*x.shape[:2], 1)), zoom)
    flakes = np.where(flakes < threshold, 0, flakes)
    flakes = np.clip(smear(flakes, radius, sigma, rng.uniform(-135, -45)), 0, 1)
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


def fog(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Blend with a plasma fractal of strength c0 and roughness decay c1."""
    size = 1 << (max(x.shape[:2]) - 1).bit_length()
    haze = plasma(size, c[1], rng)[: x.shape[0], : x.shape[1], None]
    top = x.max()
    return (x + c[0] * haze) * top / (top + c[0])
