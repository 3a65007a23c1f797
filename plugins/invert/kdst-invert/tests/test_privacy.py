"""Noise as differential privacy: what is promised, and what it takes."""

import math

import pytest
import torch

from kdst_invert.defences.noise import Private
from kdst_invert.defences.privacy import DELTA, delta_of, epsilon_of, sigma_for


def by_summation(sigma: float, epsilon: float, sensitivity: float) -> float:
    """δ as the integral of what one density has above e^ε times the other."""
    x = torch.arange(-60.0, 60.0, 2e-4, dtype=torch.float64) * sigma
    scale = 1 / (sigma * math.sqrt(2 * math.pi))
    first = -((x - sensitivity) ** 2) / (2 * sigma**2)
    second = epsilon - x**2 / (2 * sigma**2)
    return float((first.exp() - second.exp()).clamp(min=0).sum() * 2e-4 * sigma * scale)


@pytest.mark.parametrize(("sigma", "epsilon"), [(1.0, 1.0), (2.0, 0.3), (0.5, 4.0), (0.2, 30.0)])
def test_delta_is_the_mass_beyond_epsilon(sigma: float, epsilon: float) -> None:
    expected = by_summation(sigma, epsilon, 2.0)
    assert delta_of(sigma, epsilon, 2.0) == pytest.approx(expected, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0, 1000.0])
def test_deviation_and_epsilon_are_each_others_inverse(epsilon: float) -> None:
    sigma = sigma_for(epsilon, 2.0)
    assert epsilon_of(sigma, 2.0) == pytest.approx(epsilon, rel=1e-6)
    assert delta_of(sigma, epsilon, 2.0) <= DELTA < delta_of(0.99 * sigma, epsilon, 2.0)


def test_noise_follows_from_epsilon_and_the_longest_vector() -> None:
    e = torch.nn.functional.normalize(torch.randn(400, 64), dim=1)
    e[0] *= 100
    made = Private(20.0).protect(e, torch.Generator().manual_seed(0))
    most = float(e.norm(dim=1).mean())
    wanted = sigma_for(20.0, 2 * most)
    noise = (made[1:] - e[1:]).std()
    assert float(noise) == pytest.approx(wanted, rel=0.02)
    assert float(made[0].norm()) < 1.1 * (most**2 + 64 * wanted**2) ** 0.5 + most
