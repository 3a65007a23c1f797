"""Train the embedding of one word; everything else is frozen.

Gal et al. (ICLR 2023), equation 2: the vector that minimises the diffusion loss on the images.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from kdst_core.bench.pacing import Pace
from kdst_core.contracts import RunServices
from kdst_edit.models.latents import condition, ddim, encode
from kdst_textual_inversion.concept import Concept
from kdst_textual_inversion.word import OneMoreWord

KEEP_EVERY = 5.0
"""Seconds between two checkpoints."""


@frozen
class Training:
    """How a word is trained."""

    steps: int
    lr: float
    batch: int


def learn(
    pipeline: Any,
    added: OneMoreWord,
    concept: Concept,
    word: str,
    how: Training,
    generator: torch.Generator,
    run: RunServices,
) -> None:
    """Train `added.vector` in place; continues from the run's checkpoint and keeps one.

    generator: CPU generator of images, contexts, levels and noise.
    """
    optimiser = torch.optim.AdamW([added.vector], lr=how.lr, weight_decay=0.0)
    done = _restore(run, added, optimiser, generator)
    latents = torch.cat([encode(pipeline, image) for image in concept.images])
    loss_of = _objective(pipeline, latents, concept, word, generator)
    pace = Pace(KEEP_EVERY)
    with run.progress(how.steps, f"learning {word}") as advance:
        advance(done)
        for step in range(done, how.steps):
            with torch.enable_grad():
                loss = loss_of(how.batch)
                (added.vector.grad,) = torch.autograd.grad(loss, added.vector)
            optimiser.step()
            run.log("loss", float(loss.detach()), step)
            if pace.due() or step + 1 == how.steps:
                pace.write(partial(_keep, run, added, optimiser, generator, step + 1))
            advance(1)


def _objective(
    pipeline: Any, latents: Tensor, concept: Concept, word: str, generator: torch.Generator
) -> Callable[[int], Tensor]:
    """The loss of a fresh batch: images, contexts, levels and noise drawn anew."""
    scheduler = ddim(pipeline)
    levels = scheduler.config.num_train_timesteps
    size = (concept.images.shape[-2], concept.images.shape[-1])

    def draw(high: int, count: int) -> Tensor:
        return torch.randint(high, (count,), generator=generator)

    def loss(batch: int) -> Tensor:
        chosen = draw(len(latents), batch)
        contexts = [concept.captions[i] for i in chosen.tolist()]
        texts = [c[int(draw(len(c), 1))].replace("{}", word) for c in contexts]
        bands = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
        at = (bands * levels).long().clamp_(max=levels - 1).to(latents.device)
        noise = torch.randn(batch, *latents.shape[1:], generator=generator).to(latents)
        image = latents[chosen]
        target = noise
        if scheduler.config.prediction_type == "v_prediction":
            target = scheduler.get_velocity(image, noise, at)
        words = condition(pipeline, texts, size, gradients=True)
        output = pipeline.unet(scheduler.add_noise(image, noise, at), at, **words.kwargs()).sample
        return torch.nn.functional.mse_loss(output.float(), target.float())

    return loss


def _keep(
    run: RunServices,
    added: OneMoreWord,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    done: int,
) -> None:
    """Write all that training continues from."""
    run.checkpoint(
        {
            "done": done,
            "vector": added.vector.detach().cpu(),
            "optimiser": optimiser.state_dict(),
            "generator": generator.get_state(),
        }
    )


def _restore(
    run: RunServices,
    added: OneMoreWord,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
) -> int:
    """Take up the run's checkpoint; returns the steps done, 0 in a fresh run."""
    state = run.restore()
    if state is None:
        return 0
    with torch.no_grad():
        added.vector.copy_(state["vector"])
    optimiser.load_state_dict(state["optimiser"])
    generator.set_state(state["generator"])
    return int(state["done"])
