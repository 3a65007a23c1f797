"""One stage of training the tiny model: steps, checkpoints and a curve."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from kdst_core.errors import KdstError
from kdst_core.files import whole_file
from recipes.tools.batches import pool_batches, token_loss
from recipes.tools.recipe import POOL, Recipe, pool_texts

HOLD = 0.5
"""Share of the steps at the peak learning rate, before it falls linearly to a tenth."""


class Trainer:
    """Trains `model` by a recipe; the state after any step is the state to go on from."""

    def __init__(self, recipe: Recipe, model: nn.Module, tokenizer: Any) -> None:
        self.recipe, self.model, self.tokenizer = recipe, model, tokenizer
        self.step, self.tokens, self.cpu = 0, 0, 0.0
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )

    def run(self) -> Iterator[float]:
        """Carry out the steps that are left and yield the loss of each."""
        self.model.train()
        for batch in self._batches():
            began = time.process_time()
            loss = self._train(batch)
            self.cpu += time.process_time() - began
            self.step += 1
            self.tokens += int((batch >= 0).sum())
            yield loss
        self.model.eval()

    def _batches(self) -> Iterator[Tensor]:
        a_pool = POOL // self.recipe.batch
        while self.step < self.recipe.steps:
            pool, skipped = divmod(self.step, a_pool)
            texts, order = pool_texts(self.recipe, pool), Random(f"{self.recipe.seed} {pool}")
            batches = pool_batches(self.tokenizer, texts, self.recipe.batch, order)
            yield from batches[skipped : self.recipe.steps - pool * a_pool]

    def _train(self, batch: Tensor) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * self.scale()
        loss = token_loss(self.model, batch)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def scale(self) -> float:
        """Return the learning rate of the next step as a share of its peak."""
        done = self.step / self.recipe.steps
        rise = min(1.0, (self.step + 1) / self.recipe.warmup)
        return rise * min(1.0, 1.0 - 0.9 * (done - HOLD) / (1.0 - HOLD))

    def save(self, path: Path) -> None:
        """Write the state, in one piece or not at all."""
        state = {
            "recipe": attrs.asdict(self.recipe),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "tokens": self.tokens,
            "cpu": self.cpu,
        }
        with whole_file(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """Go on from a state of the same recipe; KdstError for another one."""
        state = torch.load(path, weights_only=True)
        if state["recipe"] != attrs.asdict(self.recipe):
            raise KdstError(
                f"{path} was made by another recipe: {json.dumps(state['recipe'])}; "
                "give its values, or another directory"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.tokens, self.cpu = state["step"], state["tokens"], state["cpu"]
