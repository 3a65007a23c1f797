"""The training state: float32 weights and their average, a fast working copy, resumable exactly."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextModel

from kdst_core.files import whole_file
from kdst_edit.shapes.scene import Mix
from recipes.edit.attention import KeptAttention, set_cross_attention
from recipes.edit.model import build_pipeline
from recipes.edit.objective import attention_errors, draw_batch, velocity_errors


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights; with one recipe, two runs are equal bit for bit.

    attention_weight: weight of the object words' attention error beside the velocity error, which
    keeps the words' maps at 16² on their objects; 0 leaves the maps free.
    middle_share: share of a batch drawn from the noise levels where textures' patterns are decided.
    start_from: a directory of weights to begin with in place of random ones, the shipped ones for
    example; the optimiser begins anew, so warm up, and take another seed than theirs for other images.
    """

    seed: int = 0
    images: int = 220_000
    batch: int = 32
    learning_rate: float = 1e-3
    warmup: int = 200
    decay_from: float = 0.7
    ema: float = 0.999
    caption_dropout: float = 0.1
    single_until: int = 30_000
    pair_share: float = 0.4
    textured_share: float = 0.8
    dotted_share: float = 0.5
    attention_weight: float = 0.01
    middle_share: float = 0.0
    bfloat16: bool = True
    start_from: str = ""

    def __post_init__(self) -> None:
        for name in ("images", "batch", "learning_rate", "warmup"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.attention_weight < 0:
            raise ValueError(f"attention_weight is {self.attention_weight}; it must not be below 0")
        names = ["decay_from", "ema", "caption_dropout"]
        names += ["pair_share", "textured_share", "dotted_share", "middle_share"]
        for name in names:
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be in [0, 1)")

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return -(-self.images // self.batch)

    def rate(self, step: int) -> float:
        """Learning rate: linear warm-up, constant, linear decay to zero over the last part."""
        left = (self.steps - step) / (self.steps * (1 - self.decay_from))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, left)

    def mix(self, step: int) -> Mix:
        """Single objects alone at first; then pairs join, over as many images again."""
        seen = step * self.batch / max(self.single_until, 1)
        pair = self.pair_share * min(1.0, max(0.0, seen - 1))
        return Mix(pair, self.textured_share, self.dotted_share)


class Networks(nn.Module):
    """The two networks that are trained."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def tensors(self) -> list[Tensor]:
        """All parameters, in a fixed order."""
        return list(self.parameters())


def _take_weights(pipeline: StableDiffusionPipeline, directory: Path) -> None:
    """Give a pipeline the trained weights of another; ValueError when there are none that fit."""
    parts = {
        pipeline.unet: directory / "unet" / "diffusion_pytorch_model.safetensors",
        pipeline.text_encoder: directory / "text_encoder" / "model.safetensors",
    }
    for network, path in parts.items():
        if not path.is_file():
            raise ValueError(f"start_from: {path} does not exist")
        network.load_state_dict(load_file(path))


class Trainer:
    """Trains a pipeline built from `recipe.seed`; step k depends on weights, seed and k alone."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device, self.step = recipe, device, 0
        self.pipeline = build_pipeline(recipe.seed)
        if recipe.start_from:
            _take_weights(self.pipeline, Path(recipe.start_from))
        self.master = Networks(self.pipeline.unet, self.pipeline.text_encoder).to(device)
        self.average = copy.deepcopy(self.master).requires_grad_(False)
        self.worker = copy.deepcopy(self.master)
        if recipe.bfloat16:
            self.worker.to(torch.bfloat16)
        # an explicit softmax everywhere: it can be read, and on CPUs the fused kernel's bfloat16
        # backward is several times slower
        self.attention, self.attention_error = KeptAttention(queries=256), 0.0
        set_cross_attention(self.worker.unet, self.attention)
        self.optimizer = torch.optim.AdamW(
            self.master.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )

    def train_step(self) -> float:
        """One optimiser step; returns the batch's mean velocity error."""
        recipe, pipeline = self.recipe, self.pipeline
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + self.step)
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
        self.worker.zero_grad()
        (loss + recipe.attention_weight * looks).backward()
        self._update()
        self.step += 1
        self.attention_error = float(looks.detach())
        return float(loss.detach())

    @torch.no_grad()
    def _update(self) -> None:
        """Step the float32 weights with the working copy's gradients, and average them."""
        masters, workers = self.master.tensors(), self.worker.tensors()
        for master, worker in zip(masters, workers, strict=True):
            master.grad = None if worker.grad is None else worker.grad.float()
        nn.utils.clip_grad_norm_(masters, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.step)
        self.optimizer.step()
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average.tensors(), masters, 1 - decay)
        torch._foreach_copy_(workers, masters)

    def averaged(self) -> StableDiffusionPipeline:
        """A pipeline with the averaged weights, on the CPU and free to be changed."""
        pipeline = build_pipeline(self.recipe.seed)
        pipeline.unet.load_state_dict(self.average.unet.state_dict())
        pipeline.text_encoder.load_state_dict(self.average.text_encoder.state_dict())
        pipeline.unet.eval()
        pipeline.text_encoder.eval()
        return pipeline

    def save(self, path: Path) -> None:
        """Write the state to `path`, whole or not at all."""
        state = {
            "step": self.step,
            "master": self.master.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with whole_file(path) as part:
            torch.save(state, part)

    def load(self, path: Path) -> None:
        """Continue from the state at `path`."""
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        self.step = state["step"]
        self.master.load_state_dict(state["master"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            torch._foreach_copy_(self.worker.tensors(), self.master.tensors())
