"""95 % intervals: one formula each, for the core, the benches and their studies."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Z_975 = 1.959963984540054
"""The .975 quantile of the normal distribution."""
T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""The .975 quantile of Student's t for 1 to 30 degrees of freedom."""


def student_quantile(freedom: int) -> float:
    """Return the .975 quantile of Student's t; above 30 degrees of freedom by its expansion in 1 / ν.

    The expansion is Abramowitz and Stegun's 26.7.5, within 1e-4 there.
    """
    if freedom < 1:
        raise ValueError(f"Student's t has no {freedom} degrees of freedom; at least 1")
    if freedom <= len(T_975):
        return T_975[freedom - 1]
    z = Z_975
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


def normal_interval(mean: float, error: float) -> tuple[float, float]:
    """Return the interval of a mean with a standard error, by the normal distribution."""
    return mean - Z_975 * error, mean + Z_975 * error


def two_sided_p(difference: float, error: float) -> float:
    """Return the two-sided p of a difference with a standard error (normal); 1 for none, 0 for sure."""
    if error > 0:
        return math.erfc(abs(difference) / error / math.sqrt(2))
    return 0.0 if difference else 1.0


def wilson(successes: float, count: int) -> tuple[float, float]:
    """Return Wilson's score interval of a rate (1927); (0, 1) where nothing was counted."""
    if count == 0:
        return 0.0, 1.0
    rate, z2 = successes / count, Z_975 * Z_975 / count
    middle = (rate + z2 / 2) / (1 + z2)
    half = Z_975 * math.sqrt(rate * (1 - rate) / count + z2 / (4 * count)) / (1 + z2)
    low = 0.0 if successes == 0 else middle - half
    return low, 1.0 if successes == count else middle + half


def bootstrap(
    values: "Sequence[float] | NDArray[np.float64]", seed: int = 0, samples: int = 2000
) -> tuple[float, float]:
    """Return the percentile bootstrap's interval of a mean (Efron); needs a value and numpy.

    The same seed gives the same interval.
    """
    import numpy as np

    given, rng = np.asarray(values, dtype=float), np.random.default_rng(seed)
    means = [given[rng.integers(0, len(given), len(given))].mean() for _ in range(samples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def fisher(r: float, count: int) -> tuple[float, float]:
    """Return the interval of Pearson's r over `count` pairs by Fisher's z; needs four pairs."""
    z = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, r)))
    low, high = normal_interval(z, 1 / math.sqrt(count - 3))
    return math.tanh(low), math.tanh(high)
