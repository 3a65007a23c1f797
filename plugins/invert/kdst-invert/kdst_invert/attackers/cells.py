"""Rounded vectors read back by what is known of rounding: every coordinate lay within a cell.

Vectors of texts of one kind are taken for draws of one Gaussian, whose mean and covariance known vectors
teach. Given the cells, its expectation is what a rounded vector was most likely made of.
"""

import math

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_invert.defences.defence import mean_length, unit
from kdst_invert.defences.lossy import Rounding

FEWEST = 20
"""Known vectors from which on a covariance is estimated."""
SHRUNK = 60
"""Vectors that the unit matrix counts for in the covariance, of as many as are known besides."""
SWEEPS = 10
"""Times that every coordinate is renewed; the cosine to the truth rises no more after that."""
HELD_OUT = 32
"""Known vectors at most, a quarter of all, on which the error is measured."""
SPREADS = (0.03, 0.06, 0.12, 0.25, 0.4, 0.6, 0.8)
"""Deviations of a guess from the truth that are tried, relative to the length of a vector."""
FAR = 30.0
"""Deviations beyond which a bound is none."""


@frozen
class Cells:
    """The expectation of vectors (n, D) given the cells that rounding put their coordinates in.

    mean: (D,). precision: (D, D), of the Gaussian. largest: mean largest coordinate of known vectors,
    since a rounded vector of length 1 has lost its scale. most: the highest level of a coordinate.
    """

    mean: Tensor = field(repr=False)
    precision: Tensor = field(repr=False)
    largest: float
    most: int

    def __call__(self, stored: Tensor) -> Tensor:
        """Return (n, D), by mean field: each coordinate's expectation given those of the others."""
        low, high = self.bounds(stored.double())
        spread = self.precision.diagonal().rsqrt()
        x = self.mean.expand_as(low).clamp(low, high).clone()
        pull = (x - self.mean) @ self.precision
        for _ in range(SWEEPS):
            for i in range(x.shape[1]):
                centre = x[:, i] - pull[:, i] * spread[i] ** 2
                new = expected(centre, float(spread[i]), low[:, i], high[:, i])
                pull += (new - x[:, i])[:, None] * self.precision[i]
                x[:, i] = new
        return x.float()

    def bounds(self, stored: Tensor) -> tuple[Tensor, Tensor]:
        """Return the ends (n, D) of the cells; those of the highest levels are open outwards."""
        top = stored.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
        levels = (stored / top * self.most).round()
        step = self.largest / self.most
        low, high = (levels - 0.5) * step, (levels + 0.5) * step
        low[levels <= -self.most], high[levels >= self.most] = -math.inf, math.inf
        return low, high


def expected(centre: Tensor, spread: float, low: Tensor, high: Tensor) -> Tensor:
    """Return the mean (n,) of normal distributions that are cut to intervals."""
    a = ((low - centre) / spread).clamp(-FAR, FAR)
    b = ((high - centre) / spread).clamp(-FAR, FAR)
    mass = torch.special.ndtr(b) - torch.special.ndtr(a)
    density = (torch.exp(-a.square() / 2) - torch.exp(-b.square() / 2)) / math.sqrt(2 * math.pi)
    found = centre + spread * density / mass.clamp(min=1e-12)
    return found.clamp(low, high)


def fitted(known: Tensor, bits: int) -> Cells:
    """Return what known vectors (k, D) teach of a store that rounds to so many bits."""
    e = known.double()
    mean = e.mean(0)
    centred = e - mean
    share = SHRUNK / (SHRUNK + len(e))
    covariance = centred.T @ centred / len(e)
    usual = covariance.diagonal().mean().clamp(min=1e-12)
    covariance = (1 - share) * covariance + share * usual * torch.eye(e.shape[1], dtype=e.dtype)
    largest = float(e.abs().amax(dim=1).mean())
    return Cells(mean, torch.linalg.inv(covariance), largest, 2 ** (bits - 1) - 1)


def learned_cells(
    known: Tensor, stored: Tensor, defence: Rounding, normalised: bool
) -> tuple[Cells, float] | None:
    """Return the cells of k pairs (k, D) and the deviation a coordinate that they leave, relative to the
    mean length, measured on pairs that were held out; None from too few."""
    held = min(HELD_OUT, len(known) // 4)
    if len(known) - held < FEWEST:
        return None
    found = fitted(known[:-held], defence.bits)(stored[-held:])
    wanted = known[-held:]
    if normalised:
        found = unit(found) * mean_length(wanted)
    error = float((found - wanted).double().square().mean().sqrt())
    return fitted(known, defence.bits), error / mean_length(wanted)


def likelihood(stored: Tensor, bits: int, e: Tensor) -> Tensor:
    """Return the log-likelihood (n,) of the cells of a stored vector (D,), were it one that differs from
    vectors (n, D) by normal deviations, whose spread is the likeliest of `SPREADS`."""
    most, h = 2 ** (bits - 1) - 1, e.double()
    levels = (stored.double() / stored.abs().max().clamp(min=1e-12) * most).round()
    step = h.abs().amax(dim=1, keepdim=True) / most
    low, high = (levels - 0.5) * step - h, (levels + 0.5) * step - h
    low = low.masked_fill(levels <= -most, -math.inf)
    high = high.masked_fill(levels >= most, math.inf)
    width = h.norm(dim=1, keepdim=True) / math.sqrt(h.shape[1])
    return torch.stack([_logs(low, high, s * width).sum(1) for s in SPREADS]).amax(0)


def _logs(low: Tensor, high: Tensor, spread: Tensor) -> Tensor:
    """Return log-probabilities (n, D) of intervals; those above the mean are turned to the other side,
    where small ones are told from none."""
    above = low > 0
    ends = torch.where(above, -high, low) / spread, torch.where(above, -low, high) / spread
    first, last = (torch.special.erfc(-end / math.sqrt(2)) / 2 for end in ends)
    mass = last - first
    return mass.clamp(min=1e-12).log()
