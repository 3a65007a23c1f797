"""The fifteen common corruptions of Hendrycks and Dietterich (2019), applied to one image at a time.

Each has five severities and three published sets of parameters: CIFAR-10-C's, made for 32×32 images,
Tiny-ImageNet-C's, made for 64×64, and ImageNet-C's, made for 224×224. Images whose shorter side is
below 48 get the first, those below 128 the second.
A corruption draws from a generator of its own for each image, so that the result depends on the seed,
the image's index, the type and the severity, and on nothing else.
"""

import zlib

import numpy as np

from kdst_adapt.corruptions.table import CORRUPTIONS
from kdst_adapt.corruptions.types import Image, Severities
from kdst_core.errors import KdstError, did_you_mean

MIDDLE, LARGE = 48, 128
"""Shorter sides from which on images get Tiny-ImageNet-C's and ImageNet-C's parameters."""


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
