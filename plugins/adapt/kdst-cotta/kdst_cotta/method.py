"""The algorithm of CoTTA (Wang et al., CVPR 2022, algorithm 1)."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kdst_adapt.augment import augment
from kdst_adapt.kit import OnlineAdapter
from kdst_core.contracts import AdaptRequest

if TYPE_CHECKING:
    from kdst_cotta import Options


class Cotta(OnlineAdapter["Options"]):
    """A student learns from the teacher that averages its weights; returns the teacher's logits."""

    def __init__(self, request: AdaptRequest, options: "Options", device: str = "cpu") -> None:
        super().__init__(request, options, device)
        self.source = copy.deepcopy(self.model).requires_grad_(False)

    def begin(self) -> None:
        """The teacher begins as the source model."""
        self.teacher = copy.deepcopy(self.model).requires_grad_(False)

    def update(self, x: Tensor) -> Tensor:
        """Learn from images (B, C, H, W); return the teacher's logits before (B, num_classes)."""
        target = self.pseudo_labels(x)
        loss = -(target.softmax(1) * self.model(x).log_softmax(1)).sum(1).mean()  # equation 1
        self.step(loss)
        self.record("loss", loss)
        self._average()
        self._restore()
        return target

    @torch.no_grad()
    def pseudo_labels(self, x: Tensor) -> Tensor:
        """Return the teacher's logits, averaged over augmentations where the source is unsure (4)."""
        confidence = self.source(x).softmax(1).amax(1).mean()
        unsure = bool(confidence < self.options.threshold)
        self.record("augmented", float(unsure))
        if not unsure:
            return self.logits(x)
        total: Tensor | float = 0.0
        for _ in range(self.options.augmentations):
            total = total + self.logits(augment(x, self.generator, flip=self.options.flip))
        return torch.as_tensor(total / self.options.augmentations)

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Return the teacher's logits (B, num_classes)."""
        logits: Tensor = self.teacher(x)
        return logits

    @torch.no_grad()
    def _average(self) -> None:
        """Move the teacher towards the student: θ' ← α θ' + (1 − α) θ (equation 2)."""
        for mean, parameter in zip(self.teacher.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(parameter, 1 - self.options.alpha)

    @torch.no_grad()
    def _restore(self) -> None:
        """Put a random share of the student's weights back: θ ← M θ₀ + (1 − M) θ (equation 8)."""
        for parameter, start in zip(self.parameters, self.start, strict=True):
            drawn = torch.rand(parameter.shape, generator=self.generator, dtype=torch.float64)
            mask = (drawn < self.options.restore).to(parameter.device)
            parameter.copy_(torch.where(mask, start, parameter))

    def own_state(self) -> dict[str, Any]:
        """Return the teacher's weights."""
        return {"teacher": [p.clone() for p in self.teacher.parameters()]}

    @torch.no_grad()
    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take the teacher's weights back."""
        for parameter, value in zip(self.teacher.parameters(), state["teacher"], strict=True):
            parameter.copy_(value)
