"""Corruptions between two severities, for streams in which they change smoothly."""

import numpy as np

from kdst_adapt.corruptions import corrupt
from kdst_adapt.corruptions.types import Image, Severities

QUARTERS = 20
"""Quarters of a severity in the strongest, 5."""


def between(
    x: Image, name: str, quarters: int, *, seed: int, index: int, table: Severities | None = None
) -> Image:
    """Return image (H, W, C) in [0, 1] under a corruption of severity quarters / 4, in 8-bit steps.

    quarters: 0, the image itself, to 20. Between two severities every parameter is interpolated, whole
    numbers rounded where all five are whole; below severity 1 the image is blended with that of
    severity 1. Whole severities are those of `corrupt.corrupt`.
    """
    whole, rest = divmod(quarters, 4)
    known = table or corrupt.severities(name, x.shape)
    if not rest and not whole:
        return x
    if not whole:
        strong = corrupt.corrupt(x, name, 1, seed=seed, index=index, table=known)
        mixed = x + rest / 4 * (strong - x)
        out: Image = (np.floor(mixed * 255 + 1e-4) / 255).astype(np.float32)
        return out
    if rest:
        step = _interpolated(known, whole, rest / 4)
        known = (*known[: whole - 1], step, *known[whole:])
    return corrupt.corrupt(x, name, whole, seed=seed, index=index, table=known)


def _interpolated(known: Severities, whole: int, share: float) -> tuple[float, ...]:
    """Return the parameters a share of the way from a severity to the next."""
    found = []
    for number, (low, high) in enumerate(zip(known[whole - 1], known[whole], strict=True)):
        value = low + share * (high - low)
        counts = all(isinstance(row[number], int) for row in known)
        found.append(round(value) if counts else value)
    return tuple(found)
