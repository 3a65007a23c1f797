"""The training objective: noise an image, predict the velocity, under a caption or none."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from torch.nn.functional import avg_pool2d
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from kdst_edit.shapes.render import object_masks, render
from kdst_edit.shapes.scene import COLOURS, SHAPES, TEXTURES, Mix, captions, sample_scenes
from recipes.edit.model import token_ids

MIDDLE = (250, 650)
"""Noise levels at which a texture's pattern is decided; above, tone and silhouette are."""


@dataclass(frozen=True)
class Batch:
    """Images and noise (B, 3, 32, 32), noise levels (B,) and token ids (B, 16).

    `masks` (B, 2, 16, 16) is the share of each patch that an object covers.
    """

    images: Tensor
    noise: Tensor
    levels: Tensor
    tokens: Tensor
    masks: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        parts = (self.images, self.noise, self.levels, self.tokens, self.masks)
        return Batch(*(part.to(device) for part in parts))


def draw_batch(
    size: int,
    generator: torch.Generator,
    tokenizer: PreTrainedTokenizerFast,
    mix: Mix,
    caption_dropout: float,
    middle_share: float = 0.0,
) -> Batch:
    """A fresh batch, `middle_share` of it at the middle levels and the rest at all levels."""
    scenes = sample_scenes(size, generator, mix)
    dropped = torch.rand(size, generator=generator) < caption_dropout
    texts = ["" if d else c for c, d in zip(captions(scenes), dropped.tolist(), strict=True)]
    noise = torch.randn(size, 3, 32, 32, generator=generator)
    middle = round(size * middle_share)
    levels = torch.cat(
        [_levels(middle, MIDDLE, generator), _levels(size - middle, (0, 1000), generator)]
    )
    masks = avg_pool2d(object_masks(scenes), 2)
    return Batch(render(scenes), noise, levels, token_ids(tokenizer, texts), masks)


def _levels(count: int, span: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Noise levels (count,), one in each of `count` equal bands of `span`, to calm the loss."""
    low, high = span
    bands = (torch.arange(count) + torch.rand(count, generator=generator)) / max(count, 1)
    return (low + (high - low) * bands).long().clamp_(max=high - 1)


def attention_errors(attention: Tensor, batch: Batch, tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """How far (words,) the object words of a batch look past their objects, in nats.

    Each texture, colour and shape word's `attention` (B, 256, 16), as a distribution over patches,
    is compared with its object's mask by the Kullback-Leibler divergence of the mask from it.
    """
    owner = word_owners(batch.tokens, tokenizer)
    row, position = (owner >= 0).nonzero(as_tuple=True)
    looks = attention[row, :, position]
    masks = batch.masks[row, owner[row, position]].flatten(1)
    wanted = masks / masks.sum(1, keepdim=True)
    spread = looks / looks.sum(1, keepdim=True)
    return (torch.xlogy(wanted, wanted) - wanted * (spread + 1e-8).log()).sum(1)


def word_owners(tokens: Tensor, tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """For each of `tokens` (B, 16), which object it describes: 0, 1, or -1 for none."""

    def among(words: tuple[str, ...]) -> Tensor:
        ids = torch.tensor(tokenizer.convert_tokens_to_ids(list(words)), device=tokens.device)
        return torch.isin(tokens, ids)

    named = among(SHAPES)
    earlier = named.long().cumsum(1) - named.long()
    return torch.where(among((*TEXTURES[1:], *COLOURS, *SHAPES)), earlier, -1)


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
