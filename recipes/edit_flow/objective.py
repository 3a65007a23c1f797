"""Rectified-flow matching: mix an image with noise, predict the straight path's velocity."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from kdst_edit.shapes.render import render
from kdst_edit.shapes.scene import Mix, captions, sample_scenes
from recipes.edit.model import token_ids


@dataclass(frozen=True)
class Batch:
    """Images and noise (B, 3, 32, 32), times (B,) in (0, 1) and token ids (B, 16)."""

    images: Tensor
    noise: Tensor
    times: Tensor
    tokens: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        parts = (self.images, self.noise, self.times, self.tokens)
        return Batch(*(part.to(device) for part in parts))


def draw_batch(
    size: int,
    generator: torch.Generator,
    tokenizer: PreTrainedTokenizerFast,
    mix: Mix,
    caption_dropout: float,
) -> Batch:
    """A fresh batch; a share of its captions is dropped, for classifier-free guidance."""
    scenes = sample_scenes(size, generator, mix)
    dropped = torch.rand(size, generator=generator) < caption_dropout
    texts = ["" if d else c for c, d in zip(captions(scenes), dropped.tolist(), strict=True)]
    noise = torch.randn(size, 3, 32, 32, generator=generator)
    times = logit_normal(size, generator)
    return Batch(render(scenes), noise, times, token_ids(tokenizer, texts))


def logit_normal(size: int, generator: torch.Generator) -> Tensor:
    """Times (size,) whose logits are standard normal, one in each of `size` equal bands.

    Esser et al., Scaling Rectified Flow Transformers (2024), section 3.1; the bands calm the loss.
    """
    bands = (torch.arange(size) + torch.rand(size, generator=generator)) / size
    return torch.special.ndtri(bands.clamp(1e-6, 1 - 1e-6)).sigmoid()


def flow_errors(
    transformer: SD3Transformer2DModel, words: Tensor, pooled: Tensor, batch: Batch
) -> Tensor:
    """Mean squared error of v = noise − image at (1 − t) image + t noise, a value a sample (B,).

    Liu et al., Flow Straight and Fast (2023), equation 1. `words` (B, 16, D) are followed by the
    row of zeros that stands for those of the silent T5; `pooled` is (B, D).
    """
    t = batch.times[:, None, None, None]
    noisy = torch.lerp(batch.images, batch.noise, t)
    predicted = transformer(
        noisy.to(transformer.dtype),
        F.pad(words, (0, 0, 0, 1)),
        pooled,
        1000 * batch.times,
    ).sample
    errors: Tensor = (predicted.float() - (batch.noise - batch.images)).square().mean((1, 2, 3))
    return errors
