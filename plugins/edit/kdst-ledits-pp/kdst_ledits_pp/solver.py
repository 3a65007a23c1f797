"""Stochastic steps that an inversion can be exact for, and the inversion.

Lu et al., DPM-Solver++ (2022), the multistep SDE solver of second order; Huberman-Spiegelglas et al.
(CVPR 2024) for DDPM's. A step ends on mean + σ z, and the inversion finds the z that lead to an image.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit.models.latents import ddim
from kdst_edit.sampling.schedule import MIN_SIGMA, Schedule, Step

Denoise = Callable[[Tensor, Step, int], Tensor]
"""Latents (B, C, h, w) before a step, its number from 0 -> the noise estimate ε of the same shape."""


@frozen
class Solver:
    """The steps of a run, from noise to image. second: of DPM-Solver++, rather than DDPM's."""

    steps: Sequence[Step]
    second: bool

    def image(self, number: int, x: Tensor, epsilon: Tensor) -> Tensor:
        """Return the predicted image x_0 of latents and their noise estimate."""
        alpha = self.steps[number].alpha
        return (x - math.sqrt(1 - alpha) * epsilon) / math.sqrt(alpha)

    def mean(self, number: int, x: Tensor, image: Tensor, before: Tensor | None) -> Tensor:
        """Return the mean of a step. image: x_0 predicted at x; before: that of the step before."""
        step = self.steps[number]
        if not self.second:
            epsilon = (x - math.sqrt(step.alpha) * image) / math.sqrt(1 - step.alpha)
            along = math.sqrt(max(1 - step.alpha_prev - step.variance, 0.0))
            return math.sqrt(step.alpha_prev) * image + along * epsilon
        if step.alpha_prev >= 1:
            return image
        length = self._length(number)
        gain = math.sqrt(step.alpha_prev) * -math.expm1(-2 * length)
        shrink = math.sqrt((1 - step.alpha_prev) / (1 - step.alpha)) * math.exp(-length)
        mean = shrink * x + gain * image
        if before is None:
            return mean
        ratio = self._length(number - 1) / length
        return mean + gain / (2 * ratio) * (image - before)

    def sigma(self, number: int) -> float:
        """Return the deviation of the noise that a step adds."""
        step = self.steps[number]
        if not self.second:
            return step.sigma
        if step.alpha_prev >= 1:
            return 0.0
        return math.sqrt((1 - step.alpha_prev) * -math.expm1(-2 * self._length(number)))

    def _length(self, number: int) -> float:
        """Return h, by how much λ = ln(√ᾱ / √(1 − ᾱ)) grows in a step."""
        ends = (self.steps[number].alpha, self.steps[number].alpha_prev)
        start, end = ((math.log(a) - math.log1p(-a)) / 2 for a in ends)
        return end - start

    def scale(self, number: int) -> float:
        """Return what a step's map is multiplied by: σ, or 1 where the step adds no noise."""
        sigma = self.sigma(number)
        return sigma if sigma > MIN_SIGMA else 1.0

    def noised(self, image: Tensor, noise: Tensor) -> Tensor:
        """Return latents (N, C, h, w) of an image (1, C, h, w) at each level, noises independent."""
        alphas = torch.tensor([s.alpha for s in self.steps]).double().view(-1, 1, 1, 1)
        return alphas.sqrt().to(image) * image + (1 - alphas).sqrt().to(image) * noise


def solver_of(pipeline: Any, count: int, kind: str, skip: float) -> Solver:
    """Return the solver of `count` steps, the last ones of int(count (1 + skip)).

    Levels are those of diffusers' schedulers: for dpm with leading spacing, as the authors' code sets it.
    Raises KdstError where the model has no levels for them.
    """
    whole = int(count * (1 + skip))
    scheduler = ddim(pipeline)
    if kind == "ddpm":
        steps = Schedule.of(scheduler, whole).steps[-count:]
    else:
        steps = tuple(_leading(scheduler, whole)[-count:])
    if steps[0].alpha <= 0:
        raise KdstError(
            "the model's first level has no signal (zero terminal SNR), which ledits-pp cannot invert;"
            " raise --level-skip or --steps"
        )
    return Solver(steps, kind == "dpm")


def _leading(scheduler: Any, whole: int) -> list[Step]:
    """Return the steps of DPM-Solver++ over evenly spaced levels; the last one ends on the image."""
    levels, offset = scheduler.config.num_train_timesteps, scheduler.config.steps_offset
    apart = levels // (whole + 1)
    if apart < 1:
        raise KdstError(
            f"--steps: {whole} steps do not fit the model's {levels} levels; give fewer"
        )
    times = [k * apart + offset for k in range(whole, 0, -1)]
    alphas = scheduler.alphas_cumprod.double()
    ends = [*(float(alphas[t]) for t in times[1:]), 1.0]
    kind = scheduler.config.prediction_type
    return [Step(t, float(alphas[t]), a, kind) for t, a in zip(times, ends, strict=True)]


@frozen
class Inverted:
    """latents: (N + 1, C, h, w) from noise to image. maps: z (N, C, h, w)."""

    latents: Tensor
    maps: Tensor


def invert(
    solver: Solver,
    denoise: Denoise,
    image: Tensor,
    noise: Tensor,
    *,
    exact: bool = True,
    advance: Callable[[int], Any] = lambda _: None,
) -> Inverted:
    """Return the noise maps with which sampling ends on `image` (1, C, h, w).

    noise: (N, C, h, w), independent. exact: where a step adds no noise, its map is what is missing;
    otherwise nothing, and sampling ends on the step's mean.
    """
    levels = [*solver.noised(image, noise), image[0]]
    x, before, path, maps = levels[0][None], None, [levels[0]], []
    for number, step in enumerate(solver.steps):
        predicted = solver.image(number, x, denoise(x, step, number))
        mean, scale = solver.mean(number, x, predicted, before), solver.scale(number)
        z = (levels[number + 1] - mean) / scale
        if not exact and solver.sigma(number) <= MIN_SIGMA:
            z = torch.zeros_like(z)
        x, before = mean + scale * z, predicted
        path.append(x[0])
        maps.append(z[0])
        advance(1)
    return Inverted(torch.stack(path), torch.stack(maps))
