"""Training of one network: cross-entropy on x, evaluated as it goes, resumable bit for bit."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from kdst_core.files import whole_file
from kdst_invert.embedders.precision import Precision, settled
from kdst_vec2text.examples import NO_LABEL, Examples
from kdst_vec2text.models import Inverter

Log = Callable[[str, float, int], None]
Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]
CHECKPOINT_SECONDS = 60.0
MOST_BETWEEN = 5_000
"""Updates between two evaluations at most, however long an epoch is."""
GRADIENT_NORM = 1.0


@frozen
class TrainSettings:
    """How a network is trained.

    evaluations: evaluations an epoch. stop_after: evaluations without a lower loss that end it; None
    never. noise: highest λ on the coordinates of e, see `noisy`. precision: auto is bfloat16 where
    the device is faster in it.
    """

    epochs: int = 100
    learning_rate: float = 1e-3
    warmup: float = 0.05
    batch: int = 128
    weight_decay: float = 0.01
    evaluations: int = 1
    stop_after: int | None = 3
    noise: float = 0.0
    seed: int = 0
    precision: Precision = "auto"


@frozen
class Score:
    """loss: nats a token. exact: share of texts whose every token is the likeliest one."""

    loss: float
    exact: float


class Trainer:
    """Trains a network on examples; `checkpoint` is a file that it goes on from."""

    def __init__(
        self,
        network: Inverter,
        examples: Examples,
        validation: Examples,
        settings: TrainSettings,
        checkpoint: Path,
        *,
        log: Log,
        label: str,
    ) -> None:
        self.network, self.settings, self.checkpoint = network, settings, checkpoint
        self.examples, self.validation = examples, validation
        self.log, self.label = log, label
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.updates, self.best, self.since_best = 0, math.inf, 0
        self.best_weights: dict[str, Any] = {}
        self.history: list[tuple[int, dict[str, float]]] = []
        self.finished = False

    @property
    def updates_an_epoch(self) -> int:
        """Updates of one pass over the examples."""
        pools = range(0, len(self.examples), self.settings.batch)
        return len(pools)

    @property
    def total(self) -> int:
        """Updates of the whole training, when nothing stops it early."""
        return self.settings.epochs * self.updates_an_epoch

    def train(self, progress: Progress) -> Score:
        """Train to the end, or from the checkpoint on; the network then holds the best weights."""
        self._restore()
        self._tell(self.history)
        every = max(1, self.updates_an_epoch // self.settings.evaluations)
        every = min(every, MOST_BETWEEN)
        due = time.monotonic() + CHECKPOINT_SECONDS
        with progress(self.total, self.label) as advance:
            advance(self.updates)
            while not self.finished and self.updates < self.total:
                self._epoch_batches()
                loss = self._update()
                self.updates += 1
                advance(1)
                if self.updates % every == 0 or self.updates == self.total:
                    self._evaluate(loss)
                    due = self._save()
                    self._tell(self.history[-1:])
                elif time.monotonic() > due:
                    due = self._save()
        if self.best_weights:
            self.network.load_state_dict(self.best_weights)
        self.finished = True
        self._save()
        self.network.eval()
        return evaluate(self.network, self.validation, self.settings)

    def _tell(self, history: list[tuple[int, dict[str, float]]]) -> None:
        """Log evaluations; those of an earlier session again, since a run drops its later events."""
        for updates, numbers in history:
            for name, value in numbers.items():
                self.log(f"{self.label}.{name}", value, updates)

    def _epoch_batches(self) -> None:
        """Draw the batches of the epoch that the next update belongs to, from the seed alone."""
        epoch = self.updates // self.updates_an_epoch
        if getattr(self, "_epoch", None) == epoch:
            return
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + epoch)
        self._epoch, self._batches = epoch, self.examples.batches(self.settings.batch, generator)

    def _update(self) -> float:
        """One update; dropout and noise come from the seed and the update's number."""
        settings, network = self.settings, self.network
        seed = (settings.seed + 1) * 7_368_787 + self.updates
        batch = self._batches[self.updates % self.updates_an_epoch]
        network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * self._rate()
        with torch.random.fork_rng(devices=_cuda_devices(network)):
            torch.manual_seed(seed)
            noise = torch.Generator().manual_seed(seed)
            with autocast(network, settings.precision):
                inputs, labels = self.examples.inputs(network, batch, settings.noise, noise)
                loss = network.loss(inputs, labels)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
        self.optimiser.step()
        return float(loss.detach())

    def _rate(self) -> float:
        """Share of the learning rate: linear warm-up, then a half cosine down to 0."""
        share = (self.updates + 1) / self.total
        warmup = self.settings.warmup
        if share < warmup:
            return share / warmup
        return 0.5 * (1 + math.cos(math.pi * (share - warmup) / max(1 - warmup, 1e-9)))

    def _evaluate(self, train_loss: float) -> None:
        """Score the validation texts, keep the best weights, and see whether it is time to stop."""
        score = evaluate(self.network, self.validation, self.settings)
        numbers = {"train_loss": train_loss, "loss": score.loss, "exact": score.exact}
        self.history.append((self.updates, numbers))
        if score.loss < self.best:
            self.best, self.since_best = score.loss, 0
            state = self.network.state_dict()
            self.best_weights = {n: v.detach().cpu().clone() for n, v in state.items()}
        else:
            self.since_best += 1
        patience = self.settings.stop_after
        self.finished = patience is not None and self.since_best >= patience

    def _save(self) -> float:
        """Replace the checkpoint atomically; return when the next one is due, a twentieth at most of
        the time being spent on them."""
        began = time.monotonic()
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best_weights": self.best_weights,
            "history": self.history,
            "numbers": [self.updates, self.best, self.since_best, self.finished],
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self.checkpoint) as temporary:
            torch.save(state, temporary)
        now = time.monotonic()
        return now + max(CHECKPOINT_SECONDS, 19 * (now - began))

    def _restore(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best_weights = state["best_weights"]
        self.history = state["history"]
        self.updates, self.best, self.since_best, self.finished = state["numbers"]


@torch.no_grad()
def evaluate(network: Inverter, examples: Examples, settings: TrainSettings) -> Score:
    """Loss and exact matches on examples, each token predicted from the right ones before it."""
    network.eval()
    loss, tokens, exact = 0.0, 0, 0
    for batch in examples.in_order(settings.batch):
        with autocast(network, settings.precision):
            generator = torch.Generator().manual_seed(settings.seed + batch[0])
            inputs, labels = examples.inputs(network, batch, settings.noise, generator)
            logits = network.logits(inputs, labels).float()
        counted = labels != NO_LABEL
        summed = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), reduction="sum"
        )
        loss, tokens = loss + float(summed), tokens + int(counted.sum())
        exact += int(((logits.argmax(-1) == labels) | ~counted).all(1).sum())
    return Score(loss / max(tokens, 1), exact / max(len(examples), 1))


def autocast(network: Inverter, precision: Precision) -> torch.autocast:
    """Mixed precision on the network's device where it is asked for, or where it pays."""
    kind = next(network.parameters()).device.type
    enabled = settled(precision, kind, training=True) == "bfloat16"
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=enabled)


def _cuda_devices(network: Inverter) -> list[int]:
    """The CUDA devices whose random state an update uses."""
    device = next(network.parameters()).device
    return [device.index or 0] if device.type == "cuda" else []
