"""What a flow pipeline can do, measured: prompts followed, by the first model's analyser."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import StableDiffusion3Pipeline
from torch import Tensor

from kdst_edit.shapes.scene import captions
from recipes.edit import evaluate
from recipes.edit.evaluate import BATCH, prompt_scenes, score_pair, score_single
from recipes.edit.intervals import Measured, rate


@dataclass(frozen=True)
class Sampling(evaluate.Sampling):
    """How images are sampled; `zeros` rows of the silent T5 follow a caption."""

    zeros: int = 256


def sample(pipeline: StableDiffusion3Pipeline, prompts: list[str], how: Sampling) -> Tensor:
    """Images (B, 3, 32, 32) in [-1, 1], by the stock pipeline and its own defaults."""
    generator = torch.Generator().manual_seed(how.seed)
    pipeline.set_progress_bar_config(disable=True)
    images = []
    for start in range(0, len(prompts), BATCH):
        pixels = pipeline(
            prompts[start : start + BATCH],
            num_inference_steps=how.steps,
            guidance_scale=how.guidance,
            generator=generator,
            max_sequence_length=how.zeros,
            output_type="pt",
        ).images
        images.append(2 * pixels.float().cpu() - 1)
    return torch.cat(images)


def score_prompts(
    pipeline: StableDiffusion3Pipeline, count: int, how: Sampling
) -> dict[str, Measured]:
    """Scores on `count` fresh single-object prompts and half as many pairs."""
    single, pair = prompt_scenes(count, how.seed)
    images = sample(pipeline, captions(single), how)
    right = score_single(single, images)
    right |= score_pair(pair, sample(pipeline, captions(pair), how))
    return {name: rate(values) for name, values in right.items()}
