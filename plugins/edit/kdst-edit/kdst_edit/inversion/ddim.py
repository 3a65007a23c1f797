"""DDIM inversion: walk the deterministic sampler backwards, from an image to noise.

Song et al., Denoising Diffusion Implicit Models (2021), section 4.3; Dhariwal and Nichol (2021),
appendix F. Each step back needs the network at a point not known yet and takes it at the last known
one. Fixed-point iterations remove that error (Pan et al., AIDI, ICCV 2023; Garibi et al., ReNoise,
ECCV 2024). The same walk inverts Euler's steps of a flow.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kdst_edit.inversion.denoise import Predict
from kdst_edit.sampling.flow import FlowSchedule, FlowStep
from kdst_edit.sampling.schedule import Schedule, Step

Steps = Schedule | FlowSchedule
Advance = Callable[[int], None]


def evaluations(schedule: Steps, fixed_point: int = 0) -> int:
    """How often `invert` calls the network."""
    return sum(map(len, schedule.finer)) * (1 + fixed_point)


def invert(
    predict: Predict,
    schedule: Steps,
    image: Tensor,
    fixed_point: int = 0,
    advance: Advance = lambda _: None,
) -> Tensor:
    """Latents (N+1, C, h, w) from noise to `image` (1, C, h, w): entry i comes before step i.

    fixed_point: iterations that refine each step; 0 is the published inversion. `advance` is told
    of every call of `predict`.
    """
    x = image
    path = [x]
    finer: tuple[tuple[Step | FlowStep, ...], ...] = schedule.finer
    for parts in reversed(finer):
        for step in reversed(parts):
            x = _back(predict, step, x, fixed_point, advance)
        path.append(x)
    return torch.cat(path[::-1])


def _back(
    predict: Predict, step: Step | FlowStep, x_prev: Tensor, fixed_point: int, advance: Advance
) -> Tensor:
    """One step towards noise."""
    x = step.lift(x_prev, predict(x_prev, step.timestep))
    advance(1)
    for _ in range(fixed_point):
        x = step.solve(x_prev, predict(x, step.timestep))
        advance(1)
    return x


def resample(
    predict: Predict, schedule: Steps, noise: Tensor, advance: Advance = lambda _: None
) -> Tensor:
    """Sample (1, C, h, w) from `noise` by the same deterministic steps."""
    x = noise
    for step in schedule.steps:
        x = step.sample(x, predict(x, step.timestep))
        advance(1)
    return x
