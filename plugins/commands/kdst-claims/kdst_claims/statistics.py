"""Effects with their errors, Student's t at any level, and Holm's correction over many claims."""

import math
from collections.abc import Sequence
from statistics import fmean, variance

from attrs import frozen

from kdst_batch.statistics import two_sided_p

ALPHA = 0.05
"""Chance of a wrong verdict, over all claims that are tried together."""
MANY = 1000
"""Degrees of freedom from which on Student's t is the normal distribution."""

Table = Sequence[Sequence[float]]
"""Differences: a row for each seed, with a column for each part, such as a corruption."""


@frozen
class Effect:
    """An effect with its standard error and degrees of freedom; error inf: nothing tells it.

    freedom: None where the error is that of a normal distribution. Where seeds or parts never differ,
    Student's t would be sure of too much, such as a share that was 1 each time; the p is then that of
    the sign test.
    """

    value: float
    error: float
    freedom: int | None = None

    def p(self, least: float) -> float:
        """Return the two-sided p of this effect where the true one is `least`."""
        if not math.isfinite(self.error):
            return 1.0
        distance = self.value - least
        if self.freedom is None:
            return two_sided_p(distance, self.error)
        if self.error == 0:
            return 2.0**-self.freedom if distance else 1.0
        return student_p(distance / self.error, self.freedom)

    def interval(self, level: float) -> tuple[float, float]:
        """Return the interval that leaves out values whose p is below `level`."""
        unsure = self.error == 0 and self.freedom is not None and 2.0**-self.freedom > level
        if unsure or not math.isfinite(self.error):
            return -math.inf, math.inf
        half = self.error * quantile(level, self.freedom) if self.error else 0.0
        return self.value - half, self.value + half


def of_table(table: Table) -> Effect:
    """Return the mean effect of a table and its error, by seeds and by parts.

    The variances of the mean over seeds and over parts are added, as both were drawn, and the degrees of
    freedom are Welch's and Satterthwaite's, rounded down. A single number tells no error.
    """
    by_seed, by_part = [fmean(row) for row in table], [fmean(c) for c in zip(*table, strict=True)]
    value = fmean(by_seed)
    several = [means for means in (by_seed, by_part) if len(means) > 1]
    if not several:
        return Effect(value, math.inf)
    parts = [(variance(means) / len(means), len(means) - 1) for means in several]
    total = sum(part for part, _ in parts)
    if total == 0:
        return Effect(value, 0.0, min(freedom for _, freedom in parts))
    freedom = total**2 / sum(part**2 / freedom for part, freedom in parts)
    return Effect(value, math.sqrt(total), max(1, math.floor(freedom + 1e-9)))


def student_p(t: float, freedom: int) -> float:
    """Return the two-sided p of Student's t: Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    if freedom > MANY:
        return math.erfc(abs(t) / math.sqrt(2))
    angle = math.atan(abs(t) / math.sqrt(freedom))
    odd = freedom % 2
    term, inside = math.cos(angle) if odd else 1.0, 0.0
    for k in range(1 + odd, freedom, 2):
        inside += term
        term *= math.cos(angle) ** 2 * k / (k + 1)
    middle = math.sin(angle) * inside
    return max(0.0, 1 - (2 / math.pi * (angle + middle) if odd else middle))


def quantile(level: float, freedom: int | None) -> float:
    """Return the t whose two-sided p is `level`, by halving; None: of the normal distribution."""
    count = MANY + 1 if freedom is None else freedom
    low, high = 0.0, 2.0
    while student_p(high, count) > level:
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_p(middle, count) > level else (low, middle)
    return high


def holm(ps: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """Return the level at which Holm's procedure judges each p; one is rejected where p is not above it.

    The smallest of m is judged at α / m, the next at α / (m - 1), until one is not rejected; the
    others are judged at the level of that one. Holm (1979).
    """
    levels, left = [0.0] * len(ps), len(ps)
    level = alpha
    for index in sorted(range(len(ps)), key=lambda n: ps[n]):
        if left:
            level = alpha / left
        levels[index] = level
        left = 0 if ps[index] > level else left - 1
    return levels


def adjusted(ps: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p of each: the family's chance of error at which it would be rejected."""
    found, highest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda n: ps[n])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        found[index] = highest
    return found
