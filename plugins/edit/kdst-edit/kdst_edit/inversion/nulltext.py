"""Null-text inversion: an unconditional embedding for each step that cancels the drift of guidance.

Mokady et al., Null-text Inversion for Editing Real Images using Guided Diffusion Models (CVPR 2023),
algorithm 1. The DDIM path at guidance 1 is the pivot; at each step the embedding is optimised until
a guided step from where sampling now stands ends on the pivot.
"""

from collections.abc import Callable
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor

from kdst_edit.families.conditioning import Conditioning
from kdst_edit.inversion.ddim import Advance
from kdst_edit.inversion.denoise import Denoiser
from kdst_edit.sampling.schedule import Schedule, Step


@frozen
class NullText:
    """How the embeddings are optimised; the defaults are those published for 50 steps."""

    inner_steps: int = 10
    lr: float = 1e-2
    tolerance: float = 1e-5
    slack: float = 2e-5


@frozen
class OptimiserState:
    """Embeddings (i, T, D) of the steps done so far, and the latents (1, C, h, w) they lead to."""

    embeddings: Tensor
    latents: Tensor


def optimise(
    denoise: Denoiser,
    schedule: Schedule,
    pivot: Tensor,
    how: NullText,
    *,
    begun: OptimiserState | None = None,
    keep: Callable[[OptimiserState], Any] = lambda _: None,
    advance: Advance = lambda _: None,
) -> OptimiserState:
    """Embeddings (N, T, D), one a step, and the image's latents (1, C, h, w) they end on.

    pivot: (N+1, C, h, w) from DDIM inversion at guidance 1. denoise: the guidance to sample with.
    begun: where an earlier call stopped. keep: called after each step with what to begin from.
    advance: told of each finished step.
    """
    state = begun or OptimiserState(denoise.negative.embeddings[:0], pivot[:1])
    done = len(state.embeddings)
    advance(done)
    for i in range(done, len(schedule)):
        before = state.embeddings[-1:] if i else denoise.negative.embeddings
        found, x = _one_step(denoise, schedule, i, state.latents, pivot[i + 1 : i + 2], before, how)
        state = OptimiserState(torch.cat([state.embeddings, found]), x)
        keep(state)
        advance(1)
    return state


def _one_step(
    denoise: Denoiser,
    schedule: Schedule,
    i: int,
    x: Tensor,
    target: Tensor,
    start: Tensor,
    how: NullText,
) -> tuple[Tensor, Tensor]:
    """The embedding (1, T, D) of step i and where the guided step with it leads."""
    step = schedule.steps[i]
    rate = how.lr * (1 - i / (2 * len(schedule)))  # published as 1 − i/100, for 50 steps
    embedding = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([embedding], lr=rate)
    with torch.no_grad():
        told = denoise.output(x, step.timestep, denoise.positive)
    for _ in range(how.inner_steps):
        with torch.enable_grad():
            reached = _guided(denoise, step, x, told, embedding)
            loss = torch.nn.functional.mse_loss(reached, target)
            (embedding.grad,) = torch.autograd.grad(loss, embedding)
        optimiser.step()
        if float(loss.detach()) < how.tolerance + i * how.slack:
            break
    with torch.no_grad():
        return embedding.detach(), _guided(denoise, step, x, told, embedding)


def _guided(denoise: Denoiser, step: Step, x: Tensor, told: Tensor, embedding: Tensor) -> Tensor:
    """Where the step leads when `embedding` is the unconditional one."""
    words: Conditioning = evolve(denoise.negative, embeddings=embedding)
    without = denoise.output(x, step.timestep, words)
    return step.sample(x, without + denoise.guidance * (told - without))
