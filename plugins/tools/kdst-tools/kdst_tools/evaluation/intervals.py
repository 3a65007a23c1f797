"""95 % intervals: Wilson's for rates, the percentile bootstrap for means."""

import math
from collections.abc import Sequence

import numpy as np

Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a rate; (0, 1) where nothing was counted."""
    if count == 0:
        return 0.0, 1.0
    rate, z2 = successes / count, Z * Z / count
    middle = (rate + z2 / 2) / (1 + z2)
    half = Z * math.sqrt(rate * (1 - rate) / count + z2 / (4 * count)) / (1 + z2)
    low = 0.0 if successes == 0 else middle - half
    return low, 1.0 if successes == count else middle + half


def bootstrap(values: Sequence[float], seed: int = 0, samples: int = 2000) -> tuple[float, float]:
    """Return the percentile bootstrap's 95 % interval of a mean; needs at least one value."""
    given, rng = np.asarray(values, dtype=float), np.random.default_rng(seed)
    means = [rng.choice(given, len(given)).mean() for _ in range(samples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
