"""The steps of any model that is sampled deterministically, as moves on straight paths to noise.

At level σ a point z is (1 − σ) image + σ noise, and its velocity is noise − image. That is what a flow
model predicts. A diffusion model's latent, a · image + s · noise with a² + s² = 1, is such a point scaled
by a + s, with σ = s / (a + s); its step of DDIM is Euler's step of z, exactly.
"""

import math
from typing import Any

from attrs import frozen
from torch import Tensor

from kdst_edit.families.registry import family_of
from kdst_edit.models.latents import ddim
from kdst_edit.sampling.flow import FlowSchedule, flow_scheduler
from kdst_edit.sampling.schedule import Schedule, Step


@frozen
class Move:
    """One step from σ to σ_next. timestep: what the network is told. step: of DDIM, or None for a flow."""

    timestep: Any
    sigma: float
    sigma_next: float
    step: Step | None = None

    def latents(self, z: Tensor) -> Tensor:
        """Return what the network is given of a point z."""
        return z if self.step is None else z * _width(self.step.alpha)

    def velocity(self, z: Tensor, output: Tensor) -> Tensor:
        """Return noise − image, read from the network's output at z."""
        if self.step is None:
            return output
        image, noise = self.step.x0_and_epsilon(self.latents(z), output, self.step.alpha)
        return noise - image

    def euler(self, z: Tensor, velocity: Tensor) -> Tensor:
        """Return the point at σ_next."""
        return z + (self.sigma_next - self.sigma) * velocity


def moves(pipeline: Any, count: int, latent: tuple[int, int]) -> list[Move]:
    """Return the `count` moves from noise to image for latents (h, w)."""
    if family_of(pipeline).flow:
        schedule = FlowSchedule.of(flow_scheduler(pipeline, count, latent))
        return [Move(s.timestep, s.sigma, s.sigma_next) for s in schedule.steps]
    steps = Schedule.of(ddim(pipeline), count).steps
    return [Move(s.timestep, _level(s.alpha), _level(s.alpha_prev), s) for s in steps]


def _width(alpha: float) -> float:
    """What a point is scaled by to be a latent of diffusion."""
    return math.sqrt(alpha) + math.sqrt(1 - alpha)


def _level(alpha: float) -> float:
    """The σ of a level of diffusion."""
    return math.sqrt(1 - alpha) / _width(alpha)
