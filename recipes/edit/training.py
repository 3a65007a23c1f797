"""What the trainings of both models share: a course, and float32 weights with their average."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kdst_core.files import whole_file
from kdst_edit.shapes.scene import Mix

WEIGHTS = ("diffusion_pytorch_model.safetensors", "model.safetensors")


@dataclass(frozen=True)
class Course:
    """What decides the weights of any training here: seed, length, rates and scenes.

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
    bfloat16: bool = True
    start_from: str = ""

    SHARES: ClassVar[tuple[str, ...]] = (
        *("decay_from", "ema", "caption_dropout"),
        *("pair_share", "textured_share", "dotted_share"),
    )

    def __post_init__(self) -> None:
        for name in ("images", "batch", "learning_rate", "warmup"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in self.SHARES:
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
    """The networks that are trained, each under its name in the pipeline."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def tensors(self) -> list[Tensor]:
        """All parameters, in a fixed order."""
        return list(self.parameters())


def take_weights(networks: Networks, directory: Path) -> None:
    """Give `networks` the trained weights of a pipeline; ValueError when there are none that fit."""
    for name, network in networks.named_children():
        paths = [directory / name / file for file in WEIGHTS]
        found = next((path for path in paths if path.is_file()), None)
        if found is None:
            raise ValueError(f"start_from: {paths[0]} does not exist")
        network.load_state_dict(load_file(found))


class Training:
    """Trains parts of a pipeline; step k depends on weights, seed and k alone.

    A subclass names the parts, builds the pipeline and computes the error of a batch.
    """

    parts: ClassVar[tuple[str, ...]]

    def __init__(self, course: Course, device: torch.device) -> None:
        self.course, self.device, self.step = course, device, 0
        self.figures: dict[str, float] = {}
        self.pipeline = self.build()
        self.master = Networks(**{name: getattr(self.pipeline, name) for name in self.parts})
        if course.start_from:
            take_weights(self.master, Path(course.start_from))
        self.master.to(device)
        self.average = copy.deepcopy(self.master).requires_grad_(False)
        self.worker = copy.deepcopy(self.master)
        if course.bfloat16:
            self.worker.to(torch.bfloat16)
        self.optimizer = torch.optim.AdamW(
            self.master.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )

    def build(self) -> Any:
        """An untrained diffusers pipeline of the course's seed."""
        raise NotImplementedError

    def errors(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The error that is descended, and the loss that is reported, on a batch of `generator`."""
        raise NotImplementedError

    def train_step(self) -> float:
        """One optimiser step; returns the batch's loss."""
        generator = torch.Generator().manual_seed(self.course.seed * 1_000_003 + self.step)
        error, loss = self.errors(generator)
        self.worker.zero_grad()
        error.backward()
        self._update()
        self.step += 1
        return float(loss.detach())

    @torch.no_grad()
    def _update(self) -> None:
        """Step the float32 weights with the working copy's gradients, and average them."""
        masters, workers = self.master.tensors(), self.worker.tensors()
        for master, worker in zip(masters, workers, strict=True):
            master.grad = None if worker.grad is None else worker.grad.float()
        nn.utils.clip_grad_norm_(masters, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.course.rate(self.step)
        self.optimizer.step()
        decay = min(self.course.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average.tensors(), masters, 1 - decay)
        torch._foreach_copy_(workers, masters)

    def averaged(self) -> Any:
        """A diffusers pipeline with the averaged weights, on the CPU and free to be changed."""
        pipeline = self.build()
        for name, trained in self.average.named_children():
            part = getattr(pipeline, name)
            part.load_state_dict(trained.state_dict())
            part.eval()
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
