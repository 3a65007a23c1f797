"""The sampling loop of several branches that start from one noise: the source and its edits."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch
from attrs import frozen
from torch import Tensor

from kdst_core.contracts import SourcePath
from kdst_core.errors import KdstError
from kdst_edit.control.session import Control, Row
from kdst_edit.families.conditioning import Conditioning
from kdst_edit.families.family import Told
from kdst_edit.families.registry import family_of, network_of
from kdst_edit.models.latents import condition, ddim, guidance_inputs, latent_factor
from kdst_edit.sampling.flow import flow_scheduler
from kdst_edit.sampling.schedule import MIN_SIGMA, Schedule, set_steps
from kdst_edit.sampling.schedulers import noise_arguments, ready

if TYPE_CHECKING:
    from kdst_edit.control.session import Rule


@frozen
class Branch:
    """One image to sample. guidance up to 1 samples without the negative prompt, at half the cost."""

    prompt: str
    negative: str = ""
    guidance: float = 7.5

    @property
    def guided(self) -> bool:
        """Whether the branch needs a row for the negative prompt."""
        return self.guidance > 1


@torch.no_grad()
def sample(
    pipeline: Any,
    latents: Tensor,
    branches: Sequence[Branch],
    rules: "Iterable[Rule]" = (),
    *,
    num_steps: int,
    path: SourcePath | None = None,
    max_rows: int | None = None,
    advance: Callable[[int], None] | None = None,
    scheduler: Any = None,
    sampler_steps: int | None = None,
    generator: torch.Generator | None = None,
    rescale: float = 0.0,
) -> Tensor:
    """Latents (B, C, h, w) of all branches, sampled from one noise `latents` (1, C, h, w).

    Song et al., Denoising Diffusion Implicit Models (2021), and Ho and Salimans, Classifier-Free
    Diffusion Guidance (2022); flow models by Euler's steps. branches[0] is the source. path: the
    inverted source, which decides where sampling begins, the noise that is added and the negative
    embeddings. max_rows: bound on the rows of one call of the network. advance: told 1 after each step.
    scheduler: one of diffusers', copied, in place of DDIM; generator: of the noise that it adds, the
    same for all branches, left as it is. rescale: share of rescaled guidance.
    """
    stepper = _stepper(pipeline, num_steps, latents, scheduler, sampler_steps)
    start, corrected = path.start if path else 0, _corrected(stepper, num_steps, path)
    told = guidance_inputs(pipeline, [branch.guidance for branch in branches])
    if told:
        branches = [attrs.evolve(branch, guidance=1.0) for branch in branches]
    rows = branch_rows(branches)
    network = Network(
        pipeline, rows, texts_of(pipeline, branches, rows, latents.shape[-2:]), path, told
    )
    x = latents.expand(len(branches), -1, -1, -1).clone()
    extra: dict[str, Any] = {}
    if scheduler is not None:
        x, extra = x * stepper.init_noise_sigma, noise_arguments(stepper, generator, len(x))
    with Control(network_of(pipeline), rules, (x.shape[-2], x.shape[-1])) as control:
        for step, t in enumerate(stepper.timesteps):
            if step < start:
                continue
            predicted = []
            for part in chunks(len(rows), max_rows):
                control.expect(step, [rows[i] for i in part], more=part[-1] + 1 < len(rows))
                predicted.append(network.predict(stepper, x, t, part, step))
            out = _steered(
                guide(torch.cat(predicted), rows, branches, rescale), path, step, x, stepper
            )
            x = stepper.step(out, t, x, **_noise(path, step, x), **extra).prev_sample
            if step in corrected and path is not None and path.noises is not None:
                x = x + path.noises[step].to(x)
            x = control.after_step(step, x)
            if advance:
                advance(1)
    if not bool(x.isfinite().all()):
        raise KdstError(
            "sampling ended in values that are not finite: the weights are damaged, or numbers grew too"
            " large. Take a wider --dtype (bfloat16 or float32), a lower --guidance or smaller weights"
        )
    return x


def _stepper(
    pipeline: Any, num_steps: int, latents: Tensor, scheduler: Any, sampler_steps: int | None
) -> Any:
    """The scheduler that steps: a copy of the one given, Euler's of a flow, or DDIM over the levels."""
    if scheduler is not None:
        return ready(scheduler, latents.device, sampler_steps or num_steps)
    if family_of(pipeline).flow:
        height, width = latents.shape[-2:]
        return flow_scheduler(pipeline, num_steps, (height, width), latents.device)
    found = ddim(pipeline)
    set_steps(found, num_steps, latents.device)
    return found


def branch_rows(branches: Sequence[Branch]) -> list[Row]:
    """The rows of a step, branch by branch: negative prompt, if guided, then prompt."""
    return [
        Row(number, conditional)
        for number, branch in enumerate(branches)
        for conditional in ((False, True) if branch.guided else (True,))
    ]


def chunks(count: int, most: int | None) -> Iterator[range]:
    """Split `count` rows into calls of at most `most`."""
    size = most or count
    return (range(start, min(start + size, count)) for start in range(0, count, size))


def guide(
    predicted: Tensor, rows: Sequence[Row], branches: Sequence[Branch], rescale: float = 0.0
) -> Tensor:
    """Classifier-free guidance: predictions (rows, C, h, w) to (B, C, h, w).

    rescale: share of the result that is brought back to the deviation of the prompt's prediction (Lin
    et al., Common Diffusion Noise Schedules and Sample Steps are Flawed, 2024, section 3.4).
    """
    of = {row: predicted[i] for i, row in enumerate(rows)}
    mixed = []
    for number, branch in enumerate(branches):
        out = told = of[Row(number, True)]
        if branch.guided:
            unconditional = of[Row(number, False)]
            out = unconditional + branch.guidance * (told - unconditional)
            if rescale:
                out = rescale * out * (told.std() / out.std()) + (1 - rescale) * out
        mixed.append(out)
    return torch.stack(mixed)


def texts_of(
    pipeline: Any, branches: Sequence[Branch], rows: Sequence[Row], latent: Sequence[int]
) -> Any:
    """The conditioning of every row, in their order."""
    prompts = [
        branches[r.branch].prompt if r.conditional else branches[r.branch].negative for r in rows
    ]
    scale = latent_factor(pipeline)
    negative = [i for i, row in enumerate(rows) if not row.conditional]
    size = (latent[0] * scale, latent[1] * scale)
    return condition(pipeline, prompts, size, negative=negative)


@frozen
class Network:
    """The network with all that it is told of each row."""

    pipeline: Any
    rows: Sequence[Row]
    texts: Conditioning
    path: SourcePath | None
    told: Told

    def predict(self, scheduler: Any, x: Tensor, t: Tensor, part: range, step: int) -> Tensor:
        """The network's output (n, C, h, w) for some rows."""
        here = self.texts.rows(list(part))
        words = here.embeddings
        if self.path is not None and self.path.negative is not None:
            for i, number in enumerate(part):
                if not self.rows[number].conditional:
                    words[i] = self.path.negative[step].to(words)
        branches = [self.rows[i].branch for i in part]
        told = {name: value[branches].to(words) for name, value in self.told.items()}
        scaled = getattr(scheduler, "scale_model_input", _as_it_is)
        inputs = scaled(x[branches], t).to(words.dtype)
        network = network_of(self.pipeline)
        return family_of(network).predict(network, inputs, t, here, told).to(x.dtype)


def _as_it_is(x: Tensor, _timestep: Tensor) -> Tensor:
    """The latents themselves, for schedulers of flow, which scale none."""
    return x


def _steered(out: Tensor, path: SourcePath | None, step: int, x: Tensor, scheduler: Any) -> Tensor:
    """Velocities (B, C, h, w), led towards the photograph where its inversion says so.

    Rout et al., Semantic Image Inversion and Editing using Rectified Stochastic Differential Equations
    (2024), the controlled reverse ODE: the share η of the step goes straight to the image.
    """
    if path is None or path.towards is None:
        return out
    image, sigma = path.latents[-1].to(x), scheduler.sigmas[step].to(x)
    return out + float(path.towards[step]) * ((x - image) / sigma - out)


def _noise(path: SourcePath | None, step: int, x: Tensor) -> dict[str, Any]:
    """What the scheduler adds after a step: nothing, or the noise of the inverted source."""
    if path is None or path.noises is None:
        return {}
    return {"eta": 1.0, "variance_noise": path.noises[step].to(x).expand_as(x)}


def _corrected(scheduler: Any, num_steps: int, path: SourcePath | None) -> set[int]:
    """The steps that add no noise, in which the maps of an edit-friendly inversion hold a correction."""
    if path is None or path.noises is None:
        return set()
    steps = Schedule.of(scheduler, num_steps).steps
    return {i for i, step in enumerate(steps) if step.sigma <= MIN_SIGMA}
