"""Inversions of flow models: RF-Inversion's controlled ODE, and RF-Solver's second order.

At level σ a latent is (1 − σ) image + σ noise; the network predicts dx/dσ.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdst_edit.inversion.ddim import Advance
from kdst_edit.inversion.denoise import Predict
from kdst_edit.sampling.flow import FlowSchedule


def invert_controlled(
    predict: Predict,
    schedule: FlowSchedule,
    image: Tensor,
    noise: Tensor,
    gamma: float,
    advance: Advance = lambda _: None,
) -> Tensor:
    """Latents (N+1, C, h, w) from noise to `image` (1, C, h, w) under RF-Inversion's forward ODE.

    Rout et al. (2024), the controlled forward ODE: the velocity is led by γ towards the line from where
    the latent is to `noise` (1, C, h, w), a typical one. γ = 0 is Euler's inversion, γ = 1 ends on `noise`.
    """
    x, path = image, [image]
    for parts in reversed(schedule.finer):
        for step in reversed(parts):
            level = step.sigma_next
            velocity = predict(x, step.timestep_next)
            line = (noise - x) / (1 - level)
            x = step.lift(x, velocity + gamma * (line - velocity))
            advance(1)
        path.append(x)
    return torch.cat(path[::-1])


def invert_second_order(
    predict: Predict,
    schedule: FlowSchedule,
    image: Tensor,
    advance: Advance = lambda _: None,
) -> Tensor:
    """Latents (N+1, C, h, w) from noise to `image` (1, C, h, w) by RF-Solver.

    Wang et al., Taming Rectified Flow for Inversion and Editing (2024): a Taylor step
    of second order, whose derivative is a difference over half the step.
    """
    x, path = image, [image]
    for parts in reversed(schedule.finer):
        for step in reversed(parts):
            x = taylor(predict, x, step.timestep_next, step.timestep, step.sigma - step.sigma_next)
            advance(2)
        path.append(x)
    return torch.cat(path[::-1])


def taylor(predict: Predict, x: Tensor, begin: float, end: float, length: float) -> Tensor:
    """One step of RF-Solver over `length` of σ, from the timestep `begin` to `end`."""
    velocity = predict(x, begin)
    half = predict(x + length / 2 * velocity, (begin + end) / 2)
    derivative = (half - velocity) / (length / 2)
    return x + length * velocity + length**2 / 2 * derivative


def resample_towards(
    predict: Predict,
    schedule: FlowSchedule,
    start: Tensor,
    image: Tensor,
    shares: Sequence[float],
    advance: Advance = lambda _: None,
) -> Tensor:
    """Sample (1, C, h, w) from `start` under RF-Inversion's reverse ODE.

    Rout et al. (2024), the controlled reverse ODE: in step i the share η_i of the velocity points from
    where the latent is to `image`. η = 1 in the last step ends on it.
    """
    x = start
    for step, eta in zip(schedule.steps, shares, strict=True):
        velocity = predict(x, step.timestep)
        x = step.sample(x, velocity + eta * ((x - image) / step.sigma - velocity))
        advance(1)
    return x
