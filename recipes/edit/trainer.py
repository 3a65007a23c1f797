"""The training of the U-Net: velocity errors, and attention kept on the objects."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from recipes.edit.attention import KeptAttention, set_cross_attention
from recipes.edit.model import build_pipeline
from recipes.edit.objective import attention_errors, draw_batch, velocity_errors
from recipes.edit.training import Course, Training


@dataclass(frozen=True)
class Recipe(Course):
    """Everything that decides the weights; with one recipe, two runs are equal bit for bit.

    attention_weight: weight of the object words' attention error beside the velocity error, which
    keeps the words' maps at 16² on their objects; 0 leaves the maps free.
    middle_share: share of a batch drawn from the noise levels where textures' patterns are decided.
    """

    attention_weight: float = 0.01
    middle_share: float = 0.0

    SHARES: ClassVar[tuple[str, ...]] = (*Course.SHARES, "middle_share")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention_weight < 0:
            raise ValueError(f"attention_weight is {self.attention_weight}; it must not be below 0")


class Trainer(Training):
    """Trains a `StableDiffusionPipeline` from the recipe's seed."""

    parts = ("unet", "text_encoder")

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        super().__init__(recipe, device)
        self.recipe = recipe
        # an explicit softmax everywhere: it can be read, and on CPUs the fused kernel's bfloat16
        # backward is several times slower
        self.attention = KeptAttention(queries=256)
        self.figures["attention_error"] = 0.0
        set_cross_attention(self.worker.unet, self.attention)

    @property
    def attention_error(self) -> float:
        """How far the last batch's words looked past their objects, in nats."""
        return self.figures["attention_error"]

    def build(self) -> StableDiffusionPipeline:
        """Return an untrained pipeline of the recipe's seed."""
        return build_pipeline(self.course.seed)

    def errors(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the velocity error with the weighted attention error, and the former alone."""
        recipe, pipeline = self.recipe, self.pipeline
        batch = draw_batch(
            recipe.batch,
            generator,
            pipeline.tokenizer,
            recipe.mix(self.step),
            recipe.caption_dropout,
            recipe.middle_share,
        ).to(self.device)
        unet, text_encoder = self.worker.unet, self.worker.text_encoder
        loss = velocity_errors(unet, text_encoder, pipeline.scheduler, batch).mean()
        words = attention_errors(self.attention.take(), batch, pipeline.tokenizer)
        looks = words.sum() / max(len(words), 1)
        self.figures["attention_error"] = float(looks.detach())
        return loss + recipe.attention_weight * looks, loss
