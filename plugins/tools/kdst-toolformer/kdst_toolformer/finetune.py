"""Finetuning on C* (Toolformer, section 2): the texts of C with the calls that were kept.

Weights in half precision are trained in float32: AdamW's updates at a rate of 1e-5 are smaller than a
rounding step of most of them, and would be lost.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from kdst_core.contracts import ToolAnnotation, TrainingStep
from kdst_core.errors import KdstError
from kdst_toolformer import adapters
from kdst_toolformer.reading.draws import generator
from kdst_toolformer.reading.forward import batches
from kdst_tools.calls import WrittenCall, pieces
from kdst_tools.calls.tokens import CallTokens
from kdst_tools.models import configs
from kdst_tools.models.heads import Heads

ACTIVATIONS = 2**28
"""Numbers that a step on a CPU keeps for its gradients: 1 GiB in float32."""

KEPT = 40
"""Numbers that a layer keeps of a token for its gradients, in widths of the model."""


@frozen
class Recipe:
    """steps: at most. epochs: over C*. length: most tokens of a sequence. rank: of LoRA, 0 for none."""

    lr: float = 1e-5
    batch: int = 128
    steps: int = 2000
    epochs: float = 1.0
    warmup: float = 0.1
    length: int = 1024
    weight_decay: float = 0.0
    rank: int = 0


class FineTuning:
    """AdamW on a copy of the model; the order of texts depends on seed and epoch alone."""

    def __init__(
        self,
        model: nn.Module,
        tokens: CallTokens,
        annotations: Sequence[ToolAnnotation],
        caps: Mapping[str, int],
        recipe: Recipe,
        *,
        seed: int,
        budget: int,
    ) -> None:
        if recipe.rank:
            self.model = adapters.inject(copy.deepcopy(model).train(), recipe.rank, seed)
        else:
            self.model = master(model).train().requires_grad_(True)
        self.heads = Heads(self.model)
        context = configs.context(model)
        self.recipe, self.seed, self.budget = recipe, seed, min(budget, most_tokens(model))
        length = min(recipe.length, context)
        texts = [tokens.annotated(text) for text in capped(annotations, caps)]
        self.sequences = [part for ids in texts for part in sequences(ids, tokens, length)]
        if not self.sequences:
            raise KdstError("there is no text to finetune on")
        per_epoch = math.ceil(len(self.sequences) / recipe.batch)
        self.total = max(1, min(recipe.steps, round(recipe.epochs * per_epoch)))
        self.per_epoch, self.step = per_epoch, 0
        self.trained = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.trained.values(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )

    def __iter__(self) -> Iterator[TrainingStep]:
        """Carry out the steps that are left."""
        while self.step < self.total:
            lr = self.rate(self.step)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            loss = self._update(self._batch(self.step))
            self.step += 1
            yield TrainingStep(self.step, self.total, loss, lr)
        if self.recipe.rank:
            self.model = adapters.merged(self.model)
        self.model.eval()

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear warm-up over the first tenth, then linear to zero."""
        warm = max(1, round(self.recipe.warmup * self.total))
        up = min(1.0, (step + 1) / warm)
        down = 1.0 if step < warm else (self.total - step) / max(1, self.total - warm)
        return self.recipe.lr * min(up, down)

    def _batch(self, step: int) -> list[list[int]]:
        """The sequences of a step."""
        epoch, number = divmod(step, self.per_epoch)
        source = generator(self.seed, "finetune", str(epoch))
        order = torch.randperm(len(self.sequences), generator=source).tolist()
        first = number * self.recipe.batch
        return [self.sequences[i] for i in order[first : first + self.recipe.batch]]

    def _update(self, batch: Sequence[list[int]]) -> float:
        """One step of AdamW on the mean loss a token; micro-batches by the token budget."""
        count = sum(len(ids) - 1 for ids in batch)
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        with self._seeded_dropout():
            for chosen in batches([len(ids) for ids in batch], self.budget, len(batch)):
                total += self._backward([batch[i] for i in chosen], count)
        nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        self.optimizer.step()
        return total

    @contextmanager
    def _seeded_dropout(self) -> Iterator[None]:
        """Let dropout depend on seed and step, so that a resumed training goes on with the same bits."""
        device = next(self.model.parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            source = generator(self.seed, "dropout", str(self.step))
            torch.manual_seed(source.initial_seed())
            yield

    def _backward(self, rows: Sequence[list[int]], count: int) -> float:
        """Add the gradients of the summed cross-entropy of next tokens over `count`; return that."""
        device = next(self.model.parameters()).device
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
        real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]).to(device)
        inputs = {"attention_mask": real, "use_cache": False}
        targets = ids[:, 1:].masked_fill(real[:, 1:] == 0, -100).flatten()
        if self.heads.sliced(ids):
            with half_on(device):
                hidden = self.heads.hidden(ids, **inputs)[:, :-1].flatten(0, 1)
            return self._backward_in_slices(hidden, targets, count)
        with half_on(device):
            logits = self.model(input_ids=ids, **inputs).logits[:, :-1].flatten(0, 1)
        loss = summed(logits, targets) / count
        loss.backward()
        return float(loss.detach())

    def _backward_in_slices(self, hidden: Tensor, targets: Tensor, count: int) -> float:
        """The same from hidden states (N, H), with the logits of a few tokens at a time."""
        leaf, total = hidden.detach().requires_grad_(True), 0.0
        for part in self.heads.slices(len(targets)):
            with half_on(hidden.device):
                logits = self.heads.logits(leaf[part])
            loss = summed(logits, targets[part]) / count
            loss.backward()
            total += float(loss.detach())
        hidden.backward(leaf.grad)
        return total

    def state_dict(self) -> dict[str, Any]:
        """Return model (of LoRA what is trained of it), optimizer and step."""
        return {
            "step": self.step,
            "model": {n: p.detach() for n, p in self.trained.items()}
            if self.recipe.rank
            else self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on behind the step of a state."""
        self.model.load_state_dict(state["model"], strict=not self.recipe.rank)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])


def master(model: nn.Module) -> nn.Module:
    """Return a copy to train, whose weights are at least in float32."""
    copied = copy.deepcopy(model)
    half = any(p.is_floating_point() and p.element_size() < 4 for p in copied.parameters())
    return copied.float() if half else copied


def half_on(device: torch.device) -> torch.autocast:
    """Let products be taken in bfloat16 on CUDA."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def most_tokens(model: nn.Module) -> int:
    """Tokens of a micro-batch that fit the memory of a CPU; any number on other devices."""
    width, layers = (
        configs.number(model, name) or 1 for name in ("hidden_size", "num_hidden_layers")
    )
    on_cpu = next(model.parameters()).device.type == "cpu"
    return max(64, ACTIVATIONS // (KEPT * width * layers)) if on_cpu else 2**31


def summed(logits: Tensor, targets: Tensor) -> Tensor:
    """Summed cross-entropy of targets (N,) under logits (N, V); those of -100 are left out."""
    return nn.functional.cross_entropy(logits.float(), targets, reduction="sum")


def capped(annotations: Sequence[ToolAnnotation], caps: Mapping[str, int]) -> Iterator[str]:
    """Yield the annotated texts; once a tool has as many examples as its cap, without its calls."""
    count = dict.fromkeys(caps, 0)
    for annotation in annotations:
        parts = list(pieces(annotation.text))
        used = {p.tool for p in parts if isinstance(p, WrittenCall)}
        over = {tool for tool in used if count.get(tool, 0) >= caps.get(tool, len(annotations))}
        for tool in used - over:
            count[tool] = count.get(tool, 0) + 1
        yield "".join(
            p if isinstance(p, str) else "" if p.tool in over else p.written for p in parts
        )


def sequences(ids: list[int], tokens: CallTokens, length: int) -> Iterator[list[int]]:
    """Yield a text's tokens between its begin and end tokens, in parts of at most `length`."""
    end = [] if tokens.eos is None else [tokens.eos]
    whole = [*tokens.prefix, *ids, *end]
    for first in range(0, max(1, len(whole) - 1), length - 1):
        part = whole[first : first + length]
        if len(part) > 1:
            yield part
