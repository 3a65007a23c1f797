"""What a word is worth: how much worse the prediction gets when the caption has it wrong."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

import dataclasses

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from kdst_edit.shapes.render import render
from kdst_edit.shapes.scene import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    Mix,
    Scenes,
    captions,
    sample_scenes,
)
from recipes.edit.model import token_ids
from recipes.edit.objective import Batch, velocity_errors

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
    word begins to steer. `pair_` gaps exchange the words of two objects, so they show whether each
    word is bound to its own object. `count` scenes of each kind, always the same ones.
    """
    generator = torch.Generator().manual_seed(20_011)
    scenes = sample_scenes(count, generator, Mix(pair=0.0))
    pairs = sample_scenes(count, generator, Mix(pair=1.0))
    noise = torch.randn(count, 3, 32, 32, generator=generator)
    wrong = {
        kind: (scenes, dataclasses.replace(scenes, **{kind: (getattr(scenes, kind) + 1) % options}))
        for kind, options in KINDS.items()
    }
    for kind in ("shape", "colour"):
        swapped = dataclasses.replace(pairs, **{kind: getattr(pairs, kind).flip(1)})
        wrong[f"pair_{kind}"] = (pairs, swapped)
    gaps = {}
    for level in LEVELS:
        levels = torch.full((count,), level)

        def error(shown: Scenes, told: Scenes, levels: torch.Tensor = levels) -> float:
            tokens = token_ids(tokenizer, captions(told))
            masks = torch.zeros(count, 2, 16, 16)
            batch = Batch(render(shown), noise, levels, tokens, masks).to(unet.device)
            return float(velocity_errors(unet, text_encoder, scheduler, batch).mean())

        for kind, (shown, told) in wrong.items():
            gaps[f"{kind}_gap_{level}"] = error(shown, told) / error(shown, shown) - 1
    return gaps
