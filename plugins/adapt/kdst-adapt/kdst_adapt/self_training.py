"""Self-training with weights by certainty and diversity (Marsden et al., WACV 2024), as ROID and methods
that keep its losses need it: they differ in what happens to the weights after a step."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kdst_adapt.augment import augment
from kdst_adapt.kit import OnlineAdapter, entropy
from kdst_adapt.options import SelfTrainingOptions
from kdst_core.contracts import AdaptRequest

Weighted = TypeVar("Weighted", bound=SelfTrainingOptions)

CERTAIN = 0.99
"""Probabilities are cut at this in the likelihood ratio, which has no bound at 1."""
SMALL = 1e-5
"""What keeps the logarithm of the ratio from 0."""


def soft_likelihood_ratio(logits: Tensor) -> Tensor:
    """Return − Σ p log(p / (1 − p)) (B,) of logits (B, C), whose gradient stays at certainty."""
    p = logits.softmax(1).clamp(max=CERTAIN)
    return -(p * (p / (1 - p) + SMALL).log()).sum(1)


def symmetric_cross_entropy(logits: Tensor, others: Tensor) -> Tensor:
    """Return the mean (B,) of both cross-entropies between predictions of logits (B, C)."""
    there = (others.softmax(1) * logits.log_softmax(1)).sum(1)
    back = (logits.softmax(1) * others.log_softmax(1)).sum(1)
    return -(there + back) / 2


class SelfTraining(OnlineAdapter[Weighted]):
    """Learns from certain and unusual images and their augmented copies; subclasses write `ensemble`.

    Returns the logits before the update, corrected for the class prior of the batch.
    """

    def __init__(self, request: AdaptRequest, options: Weighted, device: str = "cpu") -> None:
        self.num_classes = request.num_classes
        super().__init__(request, options, device)

    def begin(self) -> None:
        """The mean prediction is uniform."""
        uniform = torch.full((self.num_classes,), 1 / self.num_classes, dtype=self.dtype)
        self.mean = uniform.to(self.device)

    def update(self, x: Tensor) -> Tensor:
        """One step on images (B, C, H, W), and the ensemble of weights after it."""
        logits: Tensor = self.model(x)
        weight = self.weigh(logits.detach())
        kept = weight > 0
        losses = soft_likelihood_ratio(logits[kept])
        losses = losses + symmetric_cross_entropy(self.copied(x, kept), logits[kept])
        loss = (weight[kept] * losses).sum() / len(x)
        self.step(loss)
        self.record("loss", loss)
        self.report(samples=int(kept.sum()))
        self.record("share kept", kept.double().mean())
        self.ensemble()
        return self.correct(logits.detach())

    def copied(self, x: Tensor, kept: Tensor) -> Tensor:
        """Return the logits (b, num_classes) of augmented copies of those images (B, C, H, W) that are
        kept (B,).

        Where that is one of several, all are copied: BatchNorm may have no statistics of one.
        """
        shown = kept if int(kept.sum()) > 1 else torch.ones_like(kept)
        with torch.no_grad():
            copies = augment(
                x[shown], self.generator, flip=self.options.flip, soften=False, reflect=True
            )
        logits: Tensor = self.model(self.arrange(copies))
        return logits[kept[shown]]

    def weigh(self, logits: Tensor) -> Tensor:
        """Return the weight (B,) of each image of logits (B, C), 0 where it is less diverse than the
        mean: exp(diversity · certainty / τ), both scaled to [0, 1] in the batch."""
        p = logits.softmax(1)
        diverse = _scaled(1 - F.cosine_similarity(self.mean[None], p))
        certain = _scaled(-entropy(logits))
        weight = (diverse * certain / self.options.temperature).exp()
        self.mean = self.mean.lerp(p.mean(0), 1 - self.options.momentum_probs)
        return weight.where(diverse >= diverse.mean(), torch.zeros_like(weight))

    def correct(self, logits: Tensor) -> Tensor:
        """Return logits (B, C) under the class prior of the batch, which is smoothed the more the fewer
        images there are."""
        prior = logits.softmax(1).mean(0)
        smoothing = max(1 / len(logits), 1 / logits.shape[1]) / prior.max()
        prior = (prior + smoothing) / (1 + smoothing * logits.shape[1])
        return logits * prior if self.options.profile == "published" else logits + prior.log()

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Return the corrected logits (B, num_classes) under the parameters of the moment."""
        return self.correct(super().logits(x))

    @abstractmethod
    def ensemble(self) -> None:
        """Draw the updated parameters to what must not be forgotten."""

    def own_state(self) -> dict[str, Any]:
        """Return the mean prediction."""
        return {"mean": self.mean}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take the mean prediction back."""
        self.mean = state["mean"].to(self.mean, copy=True)


def _scaled(values: Tensor) -> Tensor:
    """Return values (B,) moved and scaled to [0, 1]; 1 where all are equal, as one alone is."""
    low, high = values.aminmax()
    return (values - low) / (high - low) if high > low else torch.ones_like(values)
