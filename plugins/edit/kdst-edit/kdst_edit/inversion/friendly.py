"""Edit-friendly DDPM inversion: noise maps that make the stochastic sampler draw a given image.

Huberman-Spiegelglas et al., An Edit Friendly DDPM Noise Space (CVPR 2024), algorithm 1.
"""

import math

import torch
from torch import Tensor

from kdst_edit.inversion.ddim import Advance
from kdst_edit.inversion.denoise import Predict
from kdst_edit.sampling.schedule import MIN_SIGMA, Schedule, Step


def scale(step: Step) -> float:
    """What the map of a step is multiplied by when it is added: σ, or 1 where the step has no noise."""
    return step.sigma if step.sigma > MIN_SIGMA else 1.0


def invert(
    predict: Predict,
    schedule: Schedule,
    image: Tensor,
    noise: Tensor,
    advance: Advance = lambda _: None,
) -> tuple[Tensor, Tensor]:
    """Latents (N+1, C, h, w) and noise maps z (N, C, h, w) of `image` (1, C, h, w).

    noise: (N, C, h, w), drawn independently for each step, which is what makes the maps carry the
    layout. Latents are those that sampling with z passes through; the last one is `image`, also
    where the last step adds no noise, since its map is then what is missing.
    """
    levels = [
        math.sqrt(s.alpha) * image[0] + math.sqrt(1 - s.alpha) * n
        for s, n in zip(schedule.steps, noise, strict=True)
    ]  # equation 6
    targets = [*levels[1:], image[0]]
    x, path, maps = levels[0][None], [levels[0]], []
    for step, target in zip(schedule.steps, targets, strict=True):
        mean, _ = step.mean_and_sigma(x, predict(x, step.timestep))
        z = (target - mean) / scale(step)  # equation 5
        x = mean + scale(step) * z
        path.append(x[0])
        maps.append(z[0])
        advance(1)
    return torch.stack(path), torch.stack(maps)


def resample(
    predict: Predict, schedule: Schedule, start: Tensor, maps: Tensor, first: int = 0
) -> Tensor:
    """Sample from `start` (1, C, h, w), the latents before step `first`, with noise maps z."""
    x = start
    for step, z in zip(schedule.steps[first:], maps[first:], strict=True):
        mean, _ = step.mean_and_sigma(x, predict(x, step.timestep))
        x = mean + scale(step) * z
    return x
