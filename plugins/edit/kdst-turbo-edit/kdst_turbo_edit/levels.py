"""The levels of noise of a run: those that the model is told, and those that the source is noised at."""

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.contracts import EditRequest
from kdst_core.errors import KdstError
from kdst_edit.families.registry import family_of
from kdst_edit.models.latents import ddim
from kdst_edit.sampling.schedule import Step
from kdst_edit.sampling.schedulers import few_steps, takes_guidance

if TYPE_CHECKING:
    from kdst_turbo_edit import Options

PUBLISHED_NORM = 15.5
PUBLISHED_ELEMENTS = 4 * 64 * 64
"""Of SDXL-Turbo's latents at 512 pixels, for which the norm was chosen."""


@frozen
class Level:
    """One step, and the ᾱ at which the source is noised before it: that of the timestep t − Δ."""

    step: Step
    noised: float

    def source(self, image: Tensor, noise: Tensor) -> Tensor:
        """Return x_t of the source, the image's latents noised at the shifted level."""
        kept: float = self.noised**0.5
        return kept * image + (1 - self.noised) ** 0.5 * noise


def check(request: EditRequest) -> None:
    """Raise KdstError for models and options that the algorithm does not know."""
    if family_of(request.pipeline).flow or takes_guidance(request.pipeline):
        raise KdstError(
            "turbo-edit needs a model of diffusion that is guided by prompts; this one is of flow"
            " matching or is told the guidance. flowedit edits with flow models"
        )
    if request.guidance_rescale:
        raise KdstError("turbo-edit takes no --guidance-rescale; leave it out")


def levels(request: EditRequest, options: "Options") -> list[Level]:
    """Return the levels of a run, from noise to image; KdstError where they do not fit the model.

    The timesteps lie evenly between those of `begin` and `end`, which for 4 and 3 steps are the
    published ones. The last step ends on the image.
    """
    scheduler = ddim(request.pipeline)
    count, alphas = len(scheduler.alphas_cumprod), scheduler.alphas_cumprod.double()
    first, last = (max(round(share * count) - 1, 0) for share in (options.begin, options.end))
    wanted = torch.linspace(first, last, request.num_steps, dtype=torch.float64)
    times = wanted.round().long().tolist()
    if any(a <= b for a, b in pairwise(times)):
        raise KdstError(
            f"--steps {request.num_steps}: from --begin {options.begin:g} to --end {options.end:g} there"
            f" are {max(first - last + 1, 0)} levels of the model's {count}; take fewer steps, or begin"
            " earlier"
        )
    shift = round(options.delta * count / 1000)
    kind, found = scheduler.config.prediction_type, []
    for t, then in zip(times, [*times[1:], None], strict=True):
        alpha_prev = 1.0 if then is None else float(alphas[then])
        noised = float(alphas[t - shift]) if t > shift else 1.0
        found.append(Level(Step(t, float(alphas[t]), alpha_prev, kind), noised))
    if found[0].step.alpha <= 0:
        raise KdstError("the model's first level has no signal (zero terminal SNR); lower --begin")
    return found


def norm_of(request: EditRequest, options: "Options") -> float | None:
    """Return the largest norm of the last noise map for the request's latents, or None for no bound."""
    given = options.norm
    if given is None:
        given = PUBLISHED_NORM if few_steps(request.pipeline) == "turbo" else 0.0
    elements: float = request.latents[0].numel() / PUBLISHED_ELEMENTS
    return given * elements**0.5 if given else None
