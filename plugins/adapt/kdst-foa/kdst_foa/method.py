"""The algorithm of FOA (Niu et al., ICML 2024, section 3, algorithm 1)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor

from kdst_adapt.kit import entropy
from kdst_core.contracts import AdaptRequest, Diagnostics
from kdst_core.errors import KdstError
from kdst_foa.evolution import Evolution
from kdst_foa.network import Network, Reading

if TYPE_CHECKING:
    from kdst_foa import Options

BATCH = 64
"""Images of a batch for which the trade-off λ is given."""


@frozen
class Tried:
    """What a batch gave under one candidate: logits (B, num_classes), features (B, d), fitness."""

    logits: Tensor
    features: Tensor
    fitness: float


class Foa:
    """Searches prompts and shifts features by forward passes; implements `OnlinePredictor`."""

    def __init__(self, request: AdaptRequest, options: "Options", device: str = "cpu") -> None:
        if not request.source:
            raise KdstError("foa needs source data: --source npz:FILE or folder:DIR")
        self.options, self.generator = options, request.generator
        self.network = Network(request, options.prompts, options.layout, device)
        self.model = self.network.model
        self.std, self.mean = self._statistics([x for x, _ in request.source])
        self._generator_start = self.generator.get_state()
        self._begin()

    def _statistics(self, batches: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return deviation and mean (D,) of the features of source images, without prompts."""
        layers: list[Tensor] = []
        left = self.options.source_images
        for x in batches:
            layers.append(self.network.read(self.network.arrange(x[:left])).layers)
            left -= len(layers[-1])
            if left <= 0:
                break
        found = torch.cat(layers)
        if len(found) < 2:
            raise KdstError("foa needs at least two source images for their statistics")
        return torch.std_mean(found, 0)

    def _begin(self) -> None:
        """Set the search up, with no image seen."""
        self.running: Tensor | None = None
        self.kept: Tensor | None = None
        self.search: Evolution | None = None
        self.best: Tensor | None = None
        if self.network.count:
            self.best = self.network.initial_prompts(self.generator)
            self.search = Evolution(self.best.numel(), self.options.popsize, self.generator)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Adapt to images (B, C, H, W) and return logits (B, num_classes) of the same dtype."""
        images = self.network.arrange(x.clone() if x.is_inference() else x)
        pool = images if self.kept is None else torch.cat([self.kept, images])
        if len(pool) < self.options.interval:
            self.kept = pool.clone()
            logits = self.shifted(self.network.read(images, self.best), self.running)
            self.diagnostics = Diagnostics(logits, logits, 0, 0, {"prompts": self.network.count})
        else:
            self.kept = None
            self.diagnostics = self._adapt(pool, len(images))
        return self.diagnostics.after_update.to(x.dtype)

    def _adapt(self, pool: Tensor, count: int) -> Diagnostics:
        """Search on all images (B, C, H, W) of a pool; report on the last `count`."""
        candidates = self._candidates()
        tried = [self._try(pool, prompts) for prompts in candidates]
        fitness = [t.fitness for t in tried]
        best = fitness.index(min(fitness))
        if self.search is not None:
            told = [p.flatten() for p in candidates if p is not None]
            self.search.tell(told, fitness)
            self.best = candidates[best]
        before = self.running
        self._follow(tried, best)
        shift = before if self.options.profile == "published" else self.running
        readings = [self.shifted(tried[-1], before), self.shifted(tried[best], shift)]
        scalars = {"fitness": min(fitness), "prompts": self.network.count}
        return Diagnostics(readings[0][-count:], readings[1][-count:], 1, len(pool), scalars)

    def _candidates(self) -> list[Tensor | None]:
        """Return new prompts (n, D), and the best so far as the last; None alone without tokens."""
        if self.search is None or self.best is None:
            return [None]
        return [*(p.view_as(self.best) for p in self.search.ask()), self.best]

    def _try(self, x: Tensor, prompts: Tensor | None) -> Tried:
        """Return what images (B, C, H, W) give under prompts, without what the fitness alone needs."""
        reading = self.network.read(x, prompts)
        return Tried(reading.logits, reading.features, self.fitness(reading))

    def fitness(self, reading: Reading) -> float:
        """Return Σ H + λ B/64 (|σ − σ_S|² + |μ − μ_S|²) over the layers (equation 5)."""
        std, mean = torch.std_mean(reading.layers, 0)
        discrepancy = (std - self.std).square().sum() + (mean - self.mean).square().sum()
        weight = self.options.trade_off * len(reading.logits) / BATCH
        return float(entropy(reading.logits).sum() + weight * discrepancy)

    def _follow(self, tried: list[Tried], best: int) -> None:
        """Move the running mean to the newest features: μ(t) = α μ(X) + (1 − α) μ(t − 1) (equation 9)."""
        means = torch.stack([t.features.mean(0) for t in tried])
        newest = means.mean(0) if self.options.profile == "published" else means[best]
        old = newest if self.running is None else self.running
        self.running = self.options.alpha * newest + (1 - self.options.alpha) * old

    def shifted(self, reading: Reading | Tried, running: Tensor | None) -> Tensor:
        """Return the logits of features moved by γ (μ_S − μ(t)) (equations 7 and 8), or of the features
        as they are where there is no running mean."""
        if running is None:
            return reading.logits
        source = self.mean[-reading.features.shape[1] :]
        return self.network.head.logits(reading.features + self.options.gamma * (source - running))

    def reset(self) -> None:
        """Forget every batch, and draw as a fresh predictor does."""
        self.generator.set_state(self._generator_start)
        self._begin()

    def state_dict(self) -> dict[str, Any]:
        """Return the search, the best prompts, running mean, kept images and random state."""
        return {
            "search": None if self.search is None else self.search.state(),
            "best": self.best,
            "running": self.running,
            "kept": self.kept,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        if self.search is not None:
            self.search.load(state["search"])
        self.best = None if state["best"] is None else state["best"].clone()
        for name in ("running", "kept"):
            value = state[name]
            setattr(self, name, None if value is None else value.to(self.mean, copy=True))
        self.generator.set_state(state["generator"])
