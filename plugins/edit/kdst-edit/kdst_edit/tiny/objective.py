"""The training objective: noise an image, predict the velocity, under a caption or none."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from kdst_edit.tiny.model import token_ids
from kdst_edit.tiny.render import render
from kdst_edit.tiny.scene import Mix, captions, sample_scenes


@dataclass(frozen=True)
class Batch:
    """Images and noise (B, 3, 32, 32), noise levels (B,) and token ids (B, 16)."""

    images: Tensor
    noise: Tensor
    levels: Tensor
    tokens: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        parts = (self.images, self.noise, self.levels, self.tokens)
        return Batch(*(part.to(device) for part in parts))


def draw_batch(
    size: int,
    generator: torch.Generator,
    tokenizer: PreTrainedTokenizerFast,
    mix: Mix,
    caption_dropout: float,
) -> Batch:
    """A fresh batch; levels are stratified, one in each of `size` equal bands, to calm the loss."""
    scenes = sample_scenes(size, generator, mix)
    dropped = torch.rand(size, generator=generator) < caption_dropout
    texts = ["" if d else c for c, d in zip(captions(scenes), dropped.tolist(), strict=True)]
    noise = torch.randn(size, 3, 32, 32, generator=generator)
    bands = (torch.arange(size) + torch.rand(size, generator=generator)) / size
    levels = (1000 * bands).long().clamp_(max=999)
    return Batch(render(scenes), noise, levels, token_ids(tokenizer, texts))


def velocity_errors(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    scheduler: DDIMScheduler,
    batch: Batch,
) -> Tensor:
    """Mean squared error of v = sqrt(a) noise − sqrt(1 − a) image, one value a sample (B,).

    Salimans and Ho, Progressive Distillation (2022), section 4.
    """
    noisy = scheduler.add_noise(batch.images, batch.noise, batch.levels)
    target = scheduler.get_velocity(batch.images, batch.noise, batch.levels)
    words = text_encoder(batch.tokens)[0]
    predicted = unet(noisy.to(unet.dtype), batch.levels, words.to(unet.dtype)).sample
    errors: Tensor = (predicted.float() - target).square().mean((1, 2, 3))
    return errors
