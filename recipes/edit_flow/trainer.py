"""The training of the flow transformer and of its text encoders."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import StableDiffusion3Pipeline
from torch import Tensor

from recipes.edit.training import Course, Training
from recipes.edit_flow.attention import CountedAttention
from recipes.edit_flow.model import Size, build_pipeline, encode
from recipes.edit_flow.objective import draw_batch, flow_errors

COUNTS = (16, 64, 256)
"""Rows of zeros after a caption, drawn anew for each batch: `max_sequence_length` may be any."""


@dataclass(frozen=True)
class Recipe(Course):
    """Everything that decides the weights; with one recipe, two runs are equal bit for bit.

    patch, width, heads and blocks are the transformer's size.
    """

    images: int = 300_000
    single_until: int = 60_000
    pair_share: float = 0.25
    bfloat16: bool = False
    patch: int = 4
    width: int = 128
    heads: int = 4
    blocks: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("patch", "width", "heads", "blocks"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if 32 % self.patch or self.width % (4 * self.heads):
            raise ValueError(
                f"patch {self.patch}, width {self.width} and heads {self.heads} do not go together; "
                "patch divides 32, and width is a multiple of four times heads"
            )

    @property
    def size(self) -> Size:
        """The transformer's size."""
        return Size(self.patch, self.width, self.heads, self.blocks)


class Trainer(Training):
    """Trains a `StableDiffusion3Pipeline` from the recipe's seed."""

    parts = ("transformer", "text_encoder", "text_encoder_2")

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe = recipe
        super().__init__(recipe, device)
        self.attention = CountedAttention()
        self.worker.transformer.set_attn_processor(self.attention)

    def build(self) -> StableDiffusion3Pipeline:
        """Return an untrained pipeline of the recipe's seed and size."""
        return build_pipeline(self.recipe.seed, self.recipe.size)

    def errors(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the mean flow-matching error of a batch, twice: nothing is added to it."""
        recipe, worker = self.recipe, self.worker
        self.attention.count = COUNTS[int(torch.randint(len(COUNTS), (), generator=generator))]
        batch = draw_batch(
            recipe.batch,
            generator,
            self.pipeline.tokenizer,
            recipe.mix(self.step),
            recipe.caption_dropout,
        ).to(self.device)
        words, pooled = encode((worker.text_encoder, worker.text_encoder_2), batch.tokens)
        loss = flow_errors(worker.transformer, words, pooled, batch).mean()
        return loss, loss
