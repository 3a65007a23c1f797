"""The algorithms of ETA and EATA (Niu et al., ICML 2022, section 4)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kdst_adapt.kit import OnlineAdapter, entropy
from kdst_core.contracts import AdaptRequest
from kdst_core.errors import KdstError
from kdst_eata import EataOptions, EtaOptions

MOMENTUM = 0.9
"""Share of the old mean in the running mean of predictions (equation 5)."""
MANY_CLASSES = 200
"""From this number of classes on, the corrected profile takes the paper's distance for ImageNet."""


class Eta(OnlineAdapter[EtaOptions]):
    """Entropy minimisation on chosen images; returns the logits before the update, as published."""

    def __init__(self, request: AdaptRequest, options: EtaOptions, device: str = "cpu") -> None:
        published = options.profile == "published"
        self.margin = options.margin * math.log(1000 if published else request.num_classes)
        imagenet = published or request.num_classes >= MANY_CLASSES
        usual = 0.05 if imagenet else 0.4
        self.distance = usual if options.distance is None else options.distance
        super().__init__(request, options, device)

    def begin(self) -> None:
        """No prediction has been seen."""
        self.mean: Tensor | None = None

    def reset(self) -> None:
        """Restore everything; the published profile keeps the mean prediction."""
        mean = self.mean
        super().reset()
        if self.options.profile == "published":
            self.mean = mean

    def update(self, x: Tensor) -> Tensor:
        """One step on the mean of S(x) · H(x) over the chosen images (equation 2)."""
        logits: Tensor = self.model(x)
        h = entropy(logits)
        chosen = self._choose(logits.detach(), h.detach())
        count = int(chosen.sum())
        if count:
            weight = (self.margin - h[chosen].detach()).exp()
            loss = (weight * h[chosen]).mean() + self.anchor()
            self.step(loss)
            self.record("loss", loss)
        self.report(samples=count, updated=count > 0)
        self.record("share kept", count / len(x))
        return logits

    def _choose(self, logits: Tensor, h: Tensor) -> Tensor:
        """Return which images (B,) are reliable, H < E₀, and not redundant, |cos(p, m)| < d.

        m, the running mean of the predictions that were chosen, takes these in (equations 3 to 6).
        """
        p = logits.softmax(1)
        chosen = h < self.margin
        if self.mean is not None:
            chosen &= F.cosine_similarity(self.mean[None], p).abs() < self.distance
        if chosen.any():
            new = p[chosen].mean(0)
            old = self.mean
            self.mean = new if old is None else MOMENTUM * old + (1 - MOMENTUM) * new
        return chosen

    def anchor(self) -> Tensor | float:
        """ETA has none."""
        return 0.0

    def own_state(self) -> dict[str, Any]:
        """Return the mean prediction."""
        return {"mean": self.mean}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take the mean prediction back."""
        self.mean = None if state["mean"] is None else state["mean"].clone()


class Eata(Eta):
    """ETA with a quadratic anchor by the Fisher information on source data."""

    options: EataOptions

    def __init__(self, request: AdaptRequest, options: EataOptions, device: str = "cpu") -> None:
        super().__init__(request, options, device)
        if not request.source:
            raise KdstError("eata needs source data: --source npz:FILE")
        self.fisher = self._fisher([x for x, _ in request.source])

    def _fisher(self, batches: list[Tensor]) -> list[Tensor]:
        """Return F for each parameter: the mean over source batches of the squared gradient of the
        cross-entropy to the predicted class (equation 9)."""
        total = [torch.zeros_like(p) for p in self.parameters]
        used = seen = 0
        for x in batches:
            x = x[: self.options.fisher_images - seen]
            seen, used = seen + len(x), used + 1
            logits = self.model(self.arrange(x.to(self.device, self.dtype)))
            loss = F.cross_entropy(logits, logits.argmax(1))
            for f, gradient in zip(total, torch.autograd.grad(loss, self.parameters), strict=True):
                f += gradient**2
            if seen >= self.options.fisher_images:
                break
        return [f / used for f in total]

    def anchor(self) -> Tensor:
        """β Σ F (θ - θ₀)² (equation 8)."""
        triples = zip(self.fisher, self.parameters, self.start, strict=True)
        return (
            self.options.fisher_weight
            * torch.stack([(f * (p - s) ** 2).sum() for f, p, s in triples]).sum()
        )
