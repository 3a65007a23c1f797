"""Noise that a store adds to its vectors."""

import math

import torch
from attrs import frozen
from torch import Generator, Tensor

from kdst_invert.defences.defence import StoredOnly, mean_length
from kdst_invert.defences.privacy import sigma_for


@frozen
class Gaussian(StoredOnly):
    """e + λ m N(0, I), the defence of the paper (section 7); m is the mean length of the vectors."""

    scale: float
    name: str = "gaussian"

    @property
    def strength(self) -> str:
        """λ."""
        return f"λ = {self.scale:g}"

    def protect(self, e: Tensor, generator: Generator) -> Tensor:
        """Add noise to every coordinate."""
        return e + self.scale * mean_length(e) * torch.randn(e.shape, generator=generator)


@frozen
class Laplace(StoredOnly):
    """Laplace noise of standard deviation λ m on every coordinate; m is the mean length."""

    scale: float
    name: str = "laplace"

    @property
    def strength(self) -> str:
        """λ, to be compared with that of Gaussian noise."""
        return f"λ = {self.scale:g}"

    def protect(self, e: Tensor, generator: Generator) -> Tensor:
        """Add noise drawn by the inverse of its distribution function."""
        u = torch.rand(e.shape, generator=generator, dtype=torch.float64) - 0.5
        u = u.clamp(min=-0.5 + 1e-12)
        noise = -u.sign() * torch.log1p(-2 * u.abs()) * (self.scale / math.sqrt(2))
        return e + mean_length(e) * noise.float()


@frozen
class Private(StoredOnly):
    """Gaussian noise that makes every stored vector (ε, δ)-differentially private towards its text.

    Vectors longer than the mean length m are cut to it, so that two texts are 2 m apart at most. What
    is promised is for one release of each vector, by the analytic Gaussian mechanism.
    """

    epsilon: float
    name: str = "private"

    @property
    def strength(self) -> str:
        """ε, for δ = 1e-5."""
        return f"ε = {self.epsilon:g}"

    def protect(self, e: Tensor, generator: Generator) -> Tensor:
        """Cut to the length that is promised for, then add noise."""
        most = mean_length(e)
        bounded = e * (most / e.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)
        sigma = sigma_for(self.epsilon, 2 * most)
        return bounded + sigma * torch.randn(e.shape, generator=generator)
