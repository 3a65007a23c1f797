"""Bilateral grids of all photographs, learnt with the scene by Adam and kept smooth."""

from math import pi, sin
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdst_3dgs.bilateral import CELLS, LEVELS, SHAPE, sliced
from kdst_3dgs.parallel import split_work
from kdst_3dgs.simd import LANES, kernel, load, sqrt, store

BETAS, EPS = (0.9, 0.99), 1e-15
WARM, FINAL = 0.2, 0.1
"""Share of the fit in which the learning rate rises, and what is left of it at the end: the authors' code
has 5,000 of 25,000 steps, and a tenth."""
_ROW = 12 * CELLS  # floats of a level in a row of cells
_PLANE = LEVELS * _ROW
_SIZE = CELLS * _PLANE
_COUNTS = tuple(12 * (n - 1) * CELLS * LEVELS * CELLS // n for n in SHAPE[:3])
"""Differences of a grid between neighbours by row, level and column."""


@kernel
def adam_grids(  # type: ignore[no-untyped-def]
    first, last, grids, means, squares, drawn, gradient, weights, rate, betas, bias2, eps
):
    """One step of Adam for the grids `first` to `last` of flat ones.

    The gradient is that of the total variation, its sums of squares weighed by row, level and column
    (`weights`), and for the grid `drawn` also `gradient`.
    """
    beta1, beta2 = betas
    by_row, by_level, by_column = weights
    new, line = np.empty(_SIZE, np.float32), np.empty(_ROW + 24, np.float32)
    for v in range(first, last):
        base = v * _SIZE
        for row in range(CELLS * LEVELS):
            y, level = row // LEVELS, row % LEVELS
            at = base + row * _ROW
            up, down = at - _PLANE * (y > 0), at + _PLANE * (y < CELLS - 1)
            darker, lighter = at - _ROW * (level > 0), at + _ROW * (level < LEVELS - 1)
            line[:12], line[12:-12] = grids[at : at + 12], grids[at : at + _ROW]
            line[-12:] = grids[at + _ROW - 12 : at + _ROW]
            for k in range(0, _ROW, LANES):
                value = load(grids, at + k)
                g = (value - load(grids, up + k) + (value - load(grids, down + k))) * by_row
                beside = value - load(grids, darker + k) + (value - load(grids, lighter + k))
                g = g + beside * by_level
                beside = value - load(line, k) + (value - load(line, k + 24))
                g = g + beside * by_column
                if v == drawn:
                    g = g + load(gradient, row * _ROW + k)
                m = load(means, at + k) * beta1 + g * (np.float32(1) - beta1)
                s = load(squares, at + k) * beta2 + g * g * (np.float32(1) - beta2)
                store(means, at + k, m)
                store(squares, at + k, s)
                store(new, row * _ROW + k, value - m * rate / (sqrt(s) * bias2 + eps))
        grids[base : base + _SIZE] = new


def total_variation(grids: Tensor) -> Tensor:
    """Return the mean over grids (V, 16, 8, 16, 3, 4) of the sum, over rows, levels and columns, of the
    mean squared difference between neighbours."""
    return torch.stack([grids.diff(dim=d).square().mean() for d in (1, 2, 3)]).sum()


class BilateralGrids:
    """A bilateral grid for each photograph; new views are rendered without one.

    rate: highest learning rate; smoothness: weight of the total variation in the loss.
    """

    def __init__(
        self, count: int, rate: float, smoothness: float, *, device: str = "cpu", threads: int = 1
    ) -> None:
        self.grids = torch.eye(3, 4).expand(count, *SHAPE).clone().to(device)
        self.moments = torch.zeros(2, count, *SHAPE, device=device)
        self.rate, self.smoothness, self.threads = rate, smoothness, threads
        self.steps = 0
        self._drawn: tuple[int, Tensor] | None = None

    def applied(self, rgb: Tensor, index: int) -> Tensor:
        """Return a render (H, W, 3) as a photograph shows it, with gradients."""
        grid = self.grids[index].detach().requires_grad_()
        self._drawn = (index, grid)
        return sliced(rgb, grid, self.threads)

    def forget(self) -> None:
        """Leave the gradients that were not learnt from."""
        self._drawn = None

    @torch.no_grad()
    def step(self, progress: float) -> None:
        """Learn from the gradient of the photograph drawn last, at a share of the fit."""
        assert self._drawn is not None
        index, grid = self._drawn
        gradient = torch.zeros_like(grid) if grid.grad is None else grid.grad
        self._drawn = None
        self.steps += 1
        rising = sin(pi / 2 * min(1.0, progress / WARM))
        rate = self.rate * FINAL**progress * rising / (1 - BETAS[0] ** self.steps)
        update = self.step_in_torch if self.grids.is_cuda else self._step
        update(index, gradient, rate, (1 - BETAS[1] ** self.steps) ** -0.5)

    def _step(self, index: int, gradient: Tensor, rate: float, bias2: float) -> None:
        """Make a step on the CPU; rate and bias2 as `adam_grids` takes them."""
        count, single = len(self.grids), np.float32
        flat = [t.numpy().reshape(-1) for t in (self.grids, *self.moments)]
        weights = tuple(single(2 * self.smoothness / (count * n)) for n in _COUNTS)
        scalars = (single(rate), (single(BETAS[0]), single(BETAS[1])), single(bias2), single(EPS))
        drawn = (index, gradient.contiguous().numpy().reshape(-1))
        split_work(adam_grids, count, self.threads, *flat, *drawn, weights, *scalars)

    def step_in_torch(self, index: int, gradient: Tensor, rate: float, bias2: float) -> None:
        """Make a step by torch's operations, on any device and in any precision."""
        with torch.enable_grad():
            leaf = self.grids.detach().clone().requires_grad_()
            (whole,) = torch.autograd.grad(self.smoothness * total_variation(leaf), leaf)
        whole[index] += gradient
        mean, square = self.moments
        mean.lerp_(whole, 1 - BETAS[0])
        square.lerp_(whole.square(), 1 - BETAS[1])
        self.grids -= rate * mean / (square.sqrt() * bias2 + EPS)

    def state_dict(self) -> dict[str, Any]:
        """Everything that learning goes on from."""
        return {
            "grids": self.grids.clone(),
            "grid_moments": self.moments.clone(),
            "grid_steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of `state_dict`."""
        self.grids.copy_(state["grids"])
        self.moments.copy_(state["grid_moments"])
        self.steps = int(state["grid_steps"])
