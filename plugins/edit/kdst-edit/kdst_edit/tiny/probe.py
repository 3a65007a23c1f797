"""What a word is worth: how much worse the prediction gets when one word of the caption is wrong."""

from __future__ import annotations

import dataclasses

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from kdst_edit.tiny.model import token_ids
from kdst_edit.tiny.objective import Batch, velocity_errors
from kdst_edit.tiny.render import render
from kdst_edit.tiny.scene import BACKGROUNDS, COLOURS, SHAPES, Mix, captions, sample_scenes

LEVELS = (600, 750, 900)
KINDS = {"shape": len(SHAPES), "colour": len(COLOURS), "background": len(BACKGROUNDS)}


@torch.no_grad()
def word_gaps(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: PreTrainedTokenizerFast,
    scheduler: DDIMScheduler,
    count: int = 32,
) -> dict[str, float]:
    """`shape_gap_900` and so on: relative rise of the error at level 900 under a wrong shape word.

    Zero means that the word is ignored. Long before samples look right, the gap shows whether a
    word begins to steer. `count` single objects, always the same ones.
    """
    generator = torch.Generator().manual_seed(20_011)
    scenes = sample_scenes(count, generator, Mix(pair=0.0))
    images = render(scenes)
    noise = torch.randn(images.shape, generator=generator)
    gaps = {}
    for level in LEVELS:
        levels = torch.full((count,), level)

        def error(texts: list[str], levels: torch.Tensor = levels) -> float:
            batch = Batch(images, noise, levels, token_ids(tokenizer, texts)).to(unet.device)
            return float(velocity_errors(unet, text_encoder, scheduler, batch).mean())

        right = error(captions(scenes))
        for kind, options in KINDS.items():
            wrong = dataclasses.replace(scenes, **{kind: (getattr(scenes, kind) + 1) % options})
            gaps[f"{kind}_gap_{level}"] = error(captions(wrong)) / right - 1
    return gaps
