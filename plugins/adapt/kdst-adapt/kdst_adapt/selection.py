"""Entropy minimisation on chosen images, as ETA has it (Niu et al., ICML 2022, section 4).

A method that builds on it sets `margin` and `distance` before it calls `SelectiveAdapter.__init__`.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import torch.nn.functional as F
from torch import Tensor

from kdst_adapt.kit import OnlineAdapter, entropy
from kdst_adapt.options import UpdateOptions

Options = TypeVar("Options", bound=UpdateOptions)

MOMENTUM = 0.9
"""Share of the old mean in the running mean of predictions (equation 5)."""
IMAGENET = 1000
"""Classes that the published margin is made for."""
MANY_CLASSES = 200
"""From this number of classes on, the paper's distance for ImageNet is taken."""


def margin_in_nats(share: float, num_classes: int, *, published: bool) -> float:
    """Return E₀, a share of ln(number of classes); of ln 1000 as published."""
    return share * math.log(IMAGENET if published else num_classes)


def usual_distance(num_classes: int, *, published: bool) -> float:
    """Return d: .05, the paper's for ImageNet, as published and for many classes; else .4, CIFAR-10's."""
    return 0.05 if published or num_classes >= MANY_CLASSES else 0.4


class SelectiveAdapter(OnlineAdapter[Options]):
    """Learns from reliable, non-redundant images; returns the logits before the update, as published."""

    margin: float
    """E₀ in nats: images of less entropy are reliable."""
    distance: float
    """d: images whose |cosine| with the mean prediction is below it are not redundant."""

    def begin(self) -> None:
        """No prediction has been seen."""
        self.mean: Tensor | None = None

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
        """Return what is added to the loss against forgetting; nothing unless a method overrides it."""
        return 0.0

    def own_state(self) -> dict[str, Any]:
        """Return the mean prediction."""
        return {"mean": self.mean}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take the mean prediction back."""
        mean = state["mean"]
        self.mean = None if mean is None else mean.to(self.device, copy=True)
