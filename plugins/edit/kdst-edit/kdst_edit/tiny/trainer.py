"""The training state: float32 weights and their average, a fast working copy, resumable exactly."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from kdst_edit.tiny.model import build_pipeline
from kdst_edit.tiny.objective import draw_batch, velocity_errors
from kdst_edit.tiny.scene import Mix


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights; with one recipe, two runs are equal bit for bit."""

    seed: int = 0
    images: int = 300_000
    batch: int = 32
    learning_rate: float = 1e-3
    warmup: int = 200
    decay_from: float = 0.7
    ema: float = 0.999
    caption_dropout: float = 0.1
    single_until: int = 30_000
    pair_share: float = 0.35
    textured_share: float = 0.6
    bfloat16: bool = True

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
        return Mix(self.pair_share * min(1.0, max(0.0, seen - 1)), self.textured_share)


class Trainer:
    """Trains a pipeline built from `recipe.seed`; step k depends on the weights, seed and k alone."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device, self.step = recipe, device, 0
        self.pipeline = build_pipeline(recipe.seed)
        self.master = nn.ModuleDict(
            {"unet": self.pipeline.unet, "text_encoder": self.pipeline.text_encoder}
        ).to(device)
        self.average = copy.deepcopy(self.master).requires_grad_(False)
        self.worker = copy.deepcopy(self.master)
        if recipe.bfloat16:
            self.worker.to(torch.bfloat16)
        # explicit softmax: on CPUs the fused kernel's bfloat16 backward is several times slower
        self.worker["unet"].set_attn_processor(AttnProcessor())
        self.optimizer = torch.optim.AdamW(
            self.master.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )

    def train_step(self) -> float:
        """One optimiser step; returns the mean loss of the batch."""
        recipe, pipeline = self.recipe, self.pipeline
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + self.step)
        batch = draw_batch(
            recipe.batch,
            generator,
            pipeline.tokenizer,
            recipe.mix(self.step),
            recipe.caption_dropout,
        ).to(self.device)
        unet, text_encoder = self.worker["unet"], self.worker["text_encoder"]
        loss = velocity_errors(unet, text_encoder, pipeline.scheduler, batch).mean()
        self.worker.zero_grad()
        loss.backward()
        self._update()
        self.step += 1
        return float(loss.detach())

    @torch.no_grad()
    def _update(self) -> None:
        """Step the float32 weights with the working copy's gradients, and average them."""
        masters, workers = list(self.master.parameters()), list(self.worker.parameters())
        for master, worker in zip(masters, workers, strict=True):
            master.grad = None if worker.grad is None else worker.grad.float()
        nn.utils.clip_grad_norm_(masters, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.step)
        self.optimizer.step()
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), masters, 1 - decay)
        torch._foreach_copy_(workers, masters)

    def averaged(self) -> StableDiffusionPipeline:
        """A pipeline with the averaged weights, on the CPU and free to be changed."""
        pipeline = build_pipeline(self.recipe.seed)
        pipeline.unet.load_state_dict(self.average["unet"].state_dict())
        pipeline.text_encoder.load_state_dict(self.average["text_encoder"].state_dict())
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
        part = path.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, path)

    def load(self, path: Path) -> None:
        """Continue from the state at `path`."""
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        self.step = state["step"]
        self.master.load_state_dict(state["master"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            _copy(self.worker, self.master)


def _copy(target: nn.Module, source: nn.Module) -> None:
    values: list[Tensor] = list(source.parameters())
    torch._foreach_copy_(list(target.parameters()), values)
