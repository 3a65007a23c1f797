"""The DDIM steps that sampling takes, and their inverses, as one linear map a step.

Symbols are those of Song et al., Denoising Diffusion Implicit Models (2021): a step goes from the
level α_t to the level α_{t-1}, here `alpha` and `alpha_prev` (cumulative products). All maps hold in
the dtype of the tensors they are given; the coefficients are float64.
"""

import math
from typing import Any

from attrs import frozen
from torch import Tensor

from kdst_core.errors import KdstError

MIN_SIGMA = 1e-6
"""Below this a step adds no noise; the map of an edit-friendly inversion then holds a correction."""


@frozen
class Step:
    """One step of sampling: the network is told `timestep`; the level goes from α to α_prev."""

    timestep: int
    alpha: float
    alpha_prev: float
    prediction: str

    def x0_and_epsilon(self, x: Tensor, output: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """Read a network output as (x_0, ε), given that `x` lies at the level `alpha`.

        A velocity mixes image and noise in proportions of its level, so reading it with another
        level than that of the `x` it was computed from is wrong; an ε does not care.
        """
        signal, noise = math.sqrt(alpha), math.sqrt(1 - alpha)
        if self.prediction == "v_prediction":  # Salimans and Ho (2022), section 4.3
            return signal * x - noise * output, signal * output + noise * x
        return (x - noise * output) / signal, output

    def between(self, start: float, end: float) -> tuple[float, float]:
        """(p, q) of the deterministic move p·x + q·output from one level to another.

        DDIM, equation 12 with σ = 0: √end · x_0 + √(1 − end) · ε.
        """
        if self.prediction == "v_prediction":
            return (
                math.sqrt(end * start) + math.sqrt((1 - end) * (1 - start)),
                math.sqrt((1 - end) * start) - math.sqrt(end * (1 - start)),
            )
        p = math.sqrt(end / start)
        return p, math.sqrt(1 - end) - p * math.sqrt(1 - start)

    def sample(self, x: Tensor, output: Tensor) -> Tensor:
        """The deterministic step from `x` at α to α_prev, as DDIM samples."""
        p, q = self.between(self.alpha, self.alpha_prev)
        return p * x + q * output

    def lift(self, x_prev: Tensor, output: Tensor) -> Tensor:
        """The usual inversion from α_prev to α: the output at `x_prev` stands for that at x."""
        p, q = self.between(self.alpha_prev, self.alpha)
        return p * x_prev + q * output

    def solve(self, x_prev: Tensor, output: Tensor) -> Tensor:
        """The x for which `sample(x, output)` is `x_prev`, exactly, given the output at x."""
        p, q = self.between(self.alpha, self.alpha_prev)
        return (x_prev - q * output) / p

    @property
    def variance(self) -> float:
        """σ² of the stochastic step: DDIM, equation 16 with η = 1."""
        kept = (1 - self.alpha_prev) / (1 - self.alpha)
        return max(kept * (1 - self.alpha / self.alpha_prev), 0.0)

    @property
    def sigma(self) -> float:
        """The deviation of the noise that the stochastic step adds."""
        return math.sqrt(self.variance)

    def mean_and_sigma(self, x: Tensor, output: Tensor) -> tuple[Tensor, float]:
        """Mean and σ of the stochastic step from α to α_prev: DDIM, equation 12 with η = 1."""
        x0, epsilon = self.x0_and_epsilon(x, output, self.alpha)
        along = math.sqrt(max(1 - self.alpha_prev - self.variance, 0.0))
        return math.sqrt(self.alpha_prev) * x0 + along * epsilon, self.sigma

    def split(self, parts: int, alphas: Tensor, span: int, final: float) -> "list[Step]":
        """The same step in up to `parts` finer ones, from the noisiest; `span` timesteps long."""
        marks = [round(self.timestep - span * k / parts) for k in range(parts + 1)]
        marks = [max(m, -1) for m in marks]
        levels = [float(alphas[m]) if m >= 0 else final for m in marks]
        levels[0], levels[-1] = self.alpha, self.alpha_prev
        pairs = zip(marks, levels, levels[1:], strict=False)
        return [Step(t, a, b, self.prediction) for t, a, b in pairs if t >= 0 and a != b]


def set_steps(scheduler: Any, count: int, device: Any = None) -> None:
    """Set the timesteps of a DDIM scheduler; KdstError when it has no levels for so many steps."""
    levels = scheduler.config.num_train_timesteps
    if count <= levels:
        scheduler.set_timesteps(count, device=device)
        seen = scheduler.timesteps
        if len(seen) == count and bool((seen >= 0).all()) and bool((seen < levels).all()):
            _check_signal(scheduler, int(seen[0]))
            return
    spacing = f"{scheduler.config.timestep_spacing} spacing"
    offset = scheduler.config.steps_offset
    fewer = levels // 2 if count > levels // 2 else max(count - 1, 1)
    raise KdstError(
        f"--steps {count} does not fit the model's {levels} levels of noise ({spacing},"
        f" offset {offset}); give another number of steps, such as {fewer}"
    )


def _check_signal(scheduler: Any, first: int) -> None:
    """Raise KdstError where the noise predicted at the first level says nothing of the image."""
    if (
        scheduler.config.prediction_type == "epsilon"
        and float(scheduler.alphas_cumprod[first]) <= 0
    ):
        raise KdstError(
            "the model's first level of noise has no signal (zero terminal SNR), but it predicts noise,"
            " which gives no image there; its scheduler's configuration is wrong"
        )


@frozen
class Schedule:
    """The N steps of a DDIM scheduler, from noise to image."""

    steps: tuple[Step, ...]
    finer: tuple[tuple[Step, ...], ...]
    """Each step in the finer ones that inversion takes, from the noisiest; itself when not split."""

    @classmethod
    def of(cls, scheduler: Any, count: int, parts: int = 1) -> "Schedule":
        """Read the `count` steps of a diffusers `DDIMScheduler`, whatever its timestep spacing.

        A step ends where the scheduler ends it, `num_train_timesteps // count` below its timestep,
        which for `trailing` and `linspace` is not always where the next one begins.
        """
        set_steps(scheduler, count)
        span = scheduler.config.num_train_timesteps // count
        kind = scheduler.config.prediction_type
        alphas = scheduler.alphas_cumprod.double()
        final = float(scheduler.final_alpha_cumprod)
        steps = []
        for t in scheduler.timesteps.tolist():
            before = float(alphas[t - span]) if t - span >= 0 else final
            steps.append(Step(int(t), float(alphas[t]), before, kind))
        finer = tuple(tuple(s.split(parts, alphas, span, final)) for s in steps)
        return cls(tuple(steps), finer)

    def __len__(self) -> int:
        return len(self.steps)
