"""Linear maps from few pairs: ridge regression whose penalty is chosen by leave-one-out error."""

import torch
from attrs import frozen
from torch import Tensor

FEWEST_PAIRS = 2
"""Pairs that a map can be learned from."""
PENALTIES = tuple(10.0**k for k in range(-5, 4))
"""Ridge penalties that are tried, relative to the mean squared length of the centred inputs."""


@frozen
class Linear:
    """x (n, D) to (x - mean) weights + bias (n, M). left_out: what each pair's own map predicts for it
    when it was not in the fit (m, M)."""

    mean: Tensor
    weights: Tensor
    bias: Tensor
    left_out: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the map."""
        return (x - self.mean) @ self.weights + self.bias


def ridge(x: Tensor, y: Tensor) -> Linear:
    """The map from x (m, D) to y (m, M) of least squared error with the penalty that leaves out best.

    Both are centred, so that without a relation the mean is predicted. Solved in the space of the m
    pairs. One pair gives its own value for everything.
    """
    mean, bias = x.mean(0), y.mean(0)
    centred, wanted = (x - mean).double(), (y - bias).double()
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    scale = float(centred.square().sum(1).mean()) or 1.0
    turned = vectors.T @ wanted
    least, best = torch.inf, None
    for penalty in PENALTIES:
        inverse = 1 / (values.clamp(min=0) + penalty * scale)
        dual = vectors @ (inverse[:, None] * turned)
        residual = dual / (vectors.square() @ inverse)[:, None]
        error = float(residual.square().sum())
        if error < least:
            least, best = error, (dual, residual)
    assert best is not None
    dual, residual = best
    return Linear(mean, (centred.T @ dual).float(), bias, (y.double() - residual).float())
