"""Noise: Gaussian, shot and impulse noise."""

import numpy as np

from kdst_adapt.corruptions.types import Image, Rng


def shot_noise(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Count photons: Poisson noise of c photons for a white pixel."""
    return rng.poisson(x * c[0]) / c[0]


def gaussian_noise(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Add normal noise of standard deviation c."""
    return x + rng.normal(0, c[0], x.shape)


def impulse_noise(x: Image, c: tuple[float, ...], rng: Rng) -> Image:
    """Set a fraction c of the values to 0 or 1, half each."""
    flipped = rng.random(x.shape) < c[0]
    return np.where(flipped, rng.random(x.shape) < 0.5, x)
