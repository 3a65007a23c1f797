"""The sampling loop of several branches that start from one noise: the source and its edits."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.contracts import SourcePath
from kdst_edit.control import Control, Row

if TYPE_CHECKING:
    from kdst_edit.rules import Rule


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
) -> Tensor:
    """Latents (B, C, h, w) of all branches, sampled by DDIM from one noise `latents` (1, C, h, w).

    Song et al., Denoising Diffusion Implicit Models (2021), and Ho and Salimans, Classifier-Free
    Diffusion Guidance (2022). branches[0] is the source. path: the inverted source, which decides
    where sampling begins, the noise that is added and the negative embeddings. max_rows: bound on
    the rows of one call of the UNet. advance: told 1 after each step.
    """
    from kdst_edit.inversion.schedule import set_steps
    from kdst_edit.latents import ddim

    scheduler = ddim(pipeline)
    start, corrected = path.start if path else 0, _corrected(scheduler, num_steps, path)
    set_steps(scheduler, num_steps, latents.device)
    rows = branch_rows(branches)
    texts = _texts(pipeline, branches, rows, latents.shape[-2:])
    x = latents.expand(len(branches), -1, -1, -1).clone()
    with Control(pipeline.unet, rules, (x.shape[-2], x.shape[-1])) as control:
        for step, t in enumerate(scheduler.timesteps):
            if step < start:
                continue
            predicted = []
            for part in chunks(len(rows), max_rows):
                control.expect(step, [rows[i] for i in part], more=part[-1] + 1 < len(rows))
                predicted.append(_predict(pipeline, scheduler, x, t, part, rows, texts, path, step))
            out = guide(torch.cat(predicted), rows, branches)
            x = scheduler.step(out, t, x, **_noise(path, step, x)).prev_sample
            if step in corrected and path is not None and path.noises is not None:
                x = x + path.noises[step].to(x)
            x = control.after_step(step, x)
            if advance:
                advance(1)
    return x


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


def guide(predicted: Tensor, rows: Sequence[Row], branches: Sequence[Branch]) -> Tensor:
    """Classifier-free guidance: predictions (rows, C, h, w) to (B, C, h, w)."""
    of = {row: predicted[i] for i, row in enumerate(rows)}
    mixed = []
    for number, branch in enumerate(branches):
        out = of[Row(number, True)]
        if branch.guided:
            unconditional = of[Row(number, False)]
            out = unconditional + branch.guidance * (out - unconditional)
        mixed.append(out)
    return torch.stack(mixed)


def _texts(
    pipeline: Any, branches: Sequence[Branch], rows: Sequence[Row], latent: Sequence[int]
) -> Any:
    """The conditioning of every row, in their order."""
    from kdst_edit.latents import condition, latent_factor

    prompts = [
        branches[r.branch].prompt if r.conditional else branches[r.branch].negative for r in rows
    ]
    scale = latent_factor(pipeline)
    negative = [i for i, row in enumerate(rows) if not row.conditional]
    size = (latent[0] * scale, latent[1] * scale)
    return condition(pipeline, prompts, size, negative=negative)


def _predict(
    pipeline: Any,
    scheduler: Any,
    x: Tensor,
    t: Tensor,
    part: range,
    rows: Sequence[Row],
    texts: Any,
    path: SourcePath | None,
    step: int,
) -> Tensor:
    """The UNet's output (n, C, h, w) for some rows."""
    here = texts.rows(list(part)).kwargs()
    if path is not None and path.negative is not None:
        words = here["encoder_hidden_states"]
        for i, number in enumerate(part):
            if not rows[number].conditional:
                words[i] = path.negative[step].to(words)
    inputs = scheduler.scale_model_input(x[[rows[i].branch for i in part]], t)
    inputs = inputs.to(here["encoder_hidden_states"].dtype)
    out: Tensor = pipeline.unet(inputs, t, **here, return_dict=False)[0]
    return out.to(x.dtype)


def _noise(path: SourcePath | None, step: int, x: Tensor) -> dict[str, Any]:
    """What the scheduler adds after a step: nothing, or the noise of the inverted source."""
    if path is None or path.noises is None:
        return {}
    return {"eta": 1.0, "variance_noise": path.noises[step].to(x).expand_as(x)}


def _corrected(scheduler: Any, num_steps: int, path: SourcePath | None) -> set[int]:
    """The steps that add no noise, in which the maps of an edit-friendly inversion hold a correction."""
    if path is None or path.noises is None:
        return set()
    from kdst_edit.inversion.friendly import MIN_SIGMA
    from kdst_edit.inversion.schedule import Schedule

    steps = Schedule.of(scheduler, num_steps).steps
    return {i for i, step in enumerate(steps) if step.sigma <= MIN_SIGMA}
