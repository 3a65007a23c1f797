"""The steps that sampling of a flow model takes, and their inverses.

Symbols are those of diffusers: at level σ a latent is (1 − σ) image + σ noise, and the network predicts
the velocity, noise − image. Liu et al., Flow Straight and Fast (2022); Lipman et al., Flow Matching (2023).
"""

from itertools import pairwise
from typing import Any

from attrs import frozen
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit.families.registry import family_of, network_of

EULER = "FlowMatchEulerDiscreteScheduler"
UNEVEN = ("stochastic_sampling", "invert_sigmas")
"""Options of Euler's scheduler under which its steps are not those of the flow from noise to image."""


@frozen
class FlowStep:
    """One step of sampling from σ to σ_next; at these levels the network is told the two timesteps."""

    timestep: float
    sigma: float
    sigma_next: float
    timestep_next: float

    def sample(self, x: Tensor, velocity: Tensor) -> Tensor:
        """Euler's step from `x` at σ to σ_next."""
        return x + (self.sigma_next - self.sigma) * velocity

    def lift(self, x_next: Tensor, velocity: Tensor) -> Tensor:
        """The inverse step from σ_next to σ: the velocity at `x_next` stands for that at x."""
        return x_next + (self.sigma - self.sigma_next) * velocity

    def solve(self, x_next: Tensor, velocity: Tensor) -> Tensor:
        """The x for which `sample(x, velocity)` is `x_next`, exactly, given the velocity at x."""
        return self.lift(x_next, velocity)

    def split(self, parts: int) -> "tuple[FlowStep, ...]":
        """The same step in so many finer ones, from the noisiest."""
        shares = [k / parts for k in range(parts + 1)]
        levels = [self.sigma + (self.sigma_next - self.sigma) * k for k in shares]
        times = [self.timestep + (self.timestep_next - self.timestep) * k for k in shares]
        levels[-1], times[-1] = self.sigma_next, self.timestep_next
        pairs = zip(pairwise(times), pairwise(levels), strict=True)
        return tuple(FlowStep(t, a, b, then) for (t, then), (a, b) in pairs)


@frozen
class FlowSchedule:
    """The N steps of a flow, from noise to image."""

    steps: tuple[FlowStep, ...]
    finer: tuple[tuple[FlowStep, ...], ...]
    """Each step in the finer ones that inversion takes, from the noisiest; itself when not split."""

    @classmethod
    def of(cls, scheduler: Any, parts: int = 1) -> "FlowSchedule":
        """Read the steps of a diffusers `FlowMatchEulerDiscreteScheduler` whose timesteps are set."""
        levels = scheduler.sigmas.double().tolist()
        times = scheduler.timesteps.double().tolist()
        times.append(levels[-1] * scheduler.config.num_train_timesteps)
        pairs = zip(pairwise(times), pairwise(levels), strict=True)
        steps = tuple(FlowStep(t, a, b, then) for (t, then), (a, b) in pairs)
        return cls(steps, tuple((s,) if parts == 1 else s.split(parts) for s in steps))

    def __len__(self) -> int:
        return len(self.steps)


def flow_scheduler(pipeline: Any, count: int, latent: tuple[int, int], device: Any = None) -> Any:
    """A fresh scheduler of a flow model with the timesteps that the pipeline itself would set.

    Raises KdstError for a scheduler whose steps are not Euler's, or that cannot take so many.
    """
    config = pipeline.scheduler.config
    kind = type(pipeline.scheduler)
    odd = [name for name in UNEVEN if config.get(name)]
    if kind.__name__ != EULER or odd:
        given = f"{kind.__name__}{f' with {odd[0]}' if odd else ''}"
        raise KdstError(f"a flow model is sampled and inverted by {EULER}; this one has {given}")
    made: Any = kind.from_config(config)
    try:
        family_of(pipeline).set_steps(network_of(pipeline), made, count, latent)
    except Exception as e:  # its options are refused in many ways
        raise KdstError(f"the model's scheduler {EULER} cannot take {count} steps: {e}") from e
    levels = made.sigmas
    if len(levels) != count + 1 or not bool((levels[1:] < levels[:-1]).all()):
        raise KdstError(
            f"--steps {count}: the levels of the model's scheduler {EULER} do not fall in so many steps"
        )
    made.timesteps, made.sigmas = made.timesteps.to(device), made.sigmas.to(device)
    return made
