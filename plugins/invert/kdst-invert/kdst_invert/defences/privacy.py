"""What Gaussian noise is worth as differential privacy: the analytic Gaussian mechanism, exact for one
release of each vector (Balle and Wang, ICML 2018, theorem 8)."""

from collections.abc import Callable

import torch

DELTA = 1e-5
"""δ where none is given."""
HALVINGS = 200


def delta_of(sigma: float, epsilon: float, sensitivity: float) -> float:
    """The smallest δ for which noise of deviation `sigma` is (ε, δ)-private: how much more likely than
    by a factor e^ε an outcome can be where two inputs are `sensitivity` apart."""
    half, shift = sensitivity / (2 * sigma), epsilon * sigma / sensitivity
    ends = torch.tensor([half - shift, -half - shift], dtype=torch.float64)
    first, second = torch.special.log_ndtr(ends)
    return float(-first.exp() * torch.expm1(second + epsilon - first))


def sigma_for(epsilon: float, sensitivity: float, delta: float = DELTA) -> float:
    """The smallest deviation a coordinate that is (ε, δ)-private."""
    return _first(lambda sigma: delta_of(sigma, epsilon, sensitivity) <= delta)


def epsilon_of(sigma: float, sensitivity: float, delta: float = DELTA) -> float:
    """The smallest ε of noise of deviation `sigma`."""
    return _first(lambda epsilon: delta_of(sigma, epsilon, sensitivity) <= delta)


def _first(holds: Callable[[float], bool]) -> float:
    """The smallest positive number for which something holds that holds for all larger ones."""
    low, high = 0.0, 1.0
    while not holds(high):
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
