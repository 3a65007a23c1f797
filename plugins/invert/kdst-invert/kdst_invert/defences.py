"""What a store may do to its vectors before it keeps them, and what that does to a search.

Every defence has one interface: `protect` changes stored vectors, `query` what they are searched with.
"""

import math
from typing import Protocol

import torch
from attrs import frozen
from torch import Generator, Tensor

from kdst_invert.privacy import sigma_for

UNIT = 1e-3
"""How far from 1 the mean length of normalised vectors may be by rounding."""


class Defence(Protocol):
    """name: for tables and files. strength: the number that is varied, as text."""

    @property
    def name(self) -> str:
        """Kind of the defence."""

    @property
    def strength(self) -> str:
        """The number that is varied, with its symbol."""

    def protect(self, e: Tensor, generator: Generator) -> Tensor:
        """Stored vectors (N, D) as they are kept."""

    def query(self, e: Tensor) -> Tensor:
        """Vectors (n, D) as they search the store."""


class StoredOnly:
    """What the defences share that change nothing but what is stored."""

    def query(self, e: Tensor) -> Tensor:
        """Queries stay."""
        return e


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


@frozen
class Rounding(StoredOnly):
    """Each vector rounded to integers of some bits, scaled to its largest coordinate."""

    bits: int = 8
    name: str = "rounding"

    @property
    def strength(self) -> str:
        """Bits a coordinate."""
        return f"int{self.bits}"

    def protect(self, e: Tensor, generator: Generator) -> Tensor:
        """Round."""
        most = 2 ** (self.bits - 1) - 1
        step = e.abs().amax(dim=1, keepdim=True) / most
        return (e / step).round().clamp(-most, most) * step


@frozen
class Dropping(StoredOnly):
    """A share of the dimensions, the same for all vectors, set to 0, which adds nothing to a product."""

    share: float
    seed: int = 0
    name: str = "dropping"

    @property
    def strength(self) -> str:
        """Share that is dropped."""
        return f"{self.share:.0%} dropped"

    def protect(self, e: Tensor, generator: Generator) -> Tensor:
        """Set the dropped dimensions to 0."""
        chosen = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(e.shape[1], generator=chosen)
        kept = e.clone()
        kept[:, order[: round(self.share * e.shape[1])]] = 0
        return kept


@frozen
class Rotation:
    """A secret orthogonal matrix: every product, so every search, stays as it is."""

    secret: int = 0
    name: str = "rotation"

    @property
    def strength(self) -> str:
        """There is nothing to vary."""
        return "secret"

    def matrix(self, dimension: int) -> Tensor:
        """The secret (D, D), uniform over orthogonal matrices."""
        generator = torch.Generator().manual_seed(self.secret + 982_451_653)
        drawn = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
        q, r = torch.linalg.qr(drawn)
        return (q * r.diagonal().sign()).float()

    def protect(self, e: Tensor, generator: Generator) -> Tensor:
        """Turn."""
        return e @ self.matrix(e.shape[1]).T

    def query(self, e: Tensor) -> Tensor:
        """Turn queries likewise."""
        return e @ self.matrix(e.shape[1]).T


def learned_rotation(known: Tensor, stored: Tensor) -> Tensor:
    """The orthogonal matrix (D, D) that turns known vectors (m, D) best into stored ones.

    What an attacker learns of a rotation from m texts that he knows to be in the store (orthogonal
    Procrustes). `stored @ matrix` turns the store back.
    """
    return polar(stored.double().T @ known.double()).float()


def polar(matrix: Tensor) -> Tensor:
    """The orthogonal matrix nearest to a square one."""
    u, _, v = torch.linalg.svd(matrix)
    return u @ v


PENALTIES = tuple(10.0**k for k in range(-6, 4))
"""Ridge penalties that are tried, relative to the mean squared length of the stored vectors."""


def learned_filling(known: Tensor, stored: Tensor) -> tuple[Tensor, float]:
    """The linear map (D, D) from stored vectors (m, D) to the known ones that they were made of, and
    the deviation that it leaves a coordinate, relative to the mean length.

    What an attacker learns of dropping or rounding from m pairs: ridge regression, drawn towards the
    identity, which suits a defence that changes little, or towards zero. Which of them, and how
    strongly, is chosen by leave-one-out error. Use it as `stored @ matrix`.
    """
    s, e = stored.double(), known.double()
    values, vectors = torch.linalg.eigh(s @ s.T)
    scale = float(s.square().sum(1).mean())
    identity = torch.eye(s.shape[1], dtype=s.dtype)
    found, least = identity, float((e - s).square().sum())
    for start in (identity, torch.zeros_like(identity)):
        turned = vectors.T @ (e - s @ start)
        for penalty in PENALTIES:
            inverse = 1 / (values.clamp(min=0) + penalty * scale + 1e-12)
            weights = vectors @ (inverse[:, None] * turned)
            left_out = weights / (vectors.square() @ inverse)[:, None]
            error = float(left_out.square().sum())
            if error < least:
                found, least = start + s.T @ weights, error
    left = math.sqrt(least / max(e.numel(), 1)) / mean_length(known)
    return found.float(), left


def mean_length(e: Tensor) -> float:
    """Mean length of vectors (N, D), by which noise is scaled; 1 where all have length 1."""
    found = float(e.norm(dim=1).mean()) if len(e) else 1.0
    return 1.0 if abs(found - 1) < UNIT else found


def unit(e: Tensor) -> Tensor:
    """Vectors divided by their length."""
    return torch.nn.functional.normalize(e, dim=1)
