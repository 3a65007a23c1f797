"""The algorithm of RoTTA (Yuan et al., CVPR 2023, section 3)."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve
from torch import Tensor

from kdst_adapt.augment import augment
from kdst_adapt.kit import OnlineAdapter
from kdst_core.contracts import AdaptRequest
from kdst_rotta.memory import Memory
from kdst_rotta.norm import robust_statistics, set_statistics, statistics

if TYPE_CHECKING:
    from kdst_rotta import Options

SMALL = 1e-6
"""Added to the probability inside the logarithm of an image's entropy, as in the authors' code."""


class Rotta(OnlineAdapter["Options"]):
    """A student learns on a memory of the stream; returns the teacher's logits, as published."""

    def __init__(self, request: AdaptRequest, options: "Options", device: str = "cpu") -> None:
        self.num_classes, self.learning_steps = request.num_classes, options.steps
        super().__init__(request, evolve(options, steps=1), device)
        self.trained = statistics(self.model)

    def uses_batch_statistics(self) -> bool:
        """Predictions are made by moving statistics, which begin as those of training."""
        return False

    def begin(self) -> None:
        """The teacher begins as the source model, the memory empty."""
        options = self.options
        self.teacher = copy.deepcopy(self.model).requires_grad_(False)
        self.memory = Memory(options.capacity, self.num_classes, options.lambda_t, options.lambda_u)
        self.seen = 0

    def reset(self) -> None:
        """Restore everything, statistics included."""
        set_statistics(self.model, self.trained)
        super().reset()

    def update(self, x: Tensor) -> Tensor:
        """Offer images (B, C, H, W) to the memory, learn as often as it is due; return the teacher's
        logits before (B, num_classes)."""
        logits = self.logits(x)
        p = logits.softmax(1)
        uncertainty = -(p * (p + SMALL).log()).sum(1)
        learnt = 0
        for image, label, h in zip(x, p.argmax(1).tolist(), uncertainty.tolist(), strict=True):
            self.memory.add(image, label, h)
            self.seen += 1
            if self.seen % self.options.update_frequency == 0:
                for _ in range(self.learning_steps):
                    self._learn()
                    learnt += 1
        self.report(samples=len(self.memory) if learnt else 0, updated=learnt)
        self.record("images in memory", len(self.memory))
        return logits

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Return the teacher's logits (B, num_classes)."""
        logits: Tensor = self.teacher(x)
        return logits

    def _learn(self) -> None:
        """One step on Σ E(A) · cross-entropy to the teacher over the memory (equations 5 to 7)."""
        images, ages = self.memory.content()
        images = self.arrange(images)
        strong = self.arrange(augment(images, self.generator, flip=self.options.flip))
        with robust_statistics(self.teacher, self.options.alpha):
            target = self.logits(images)
        with robust_statistics(self.model, self.options.alpha):
            student = self.model(strong)
        weight = torch.sigmoid(-ages).to(student)
        loss = -((target.softmax(1) * student.log_softmax(1)).sum(1) * weight).mean()
        self.step(loss)
        self.record("loss", loss)
        self._average()

    @torch.no_grad()
    def _average(self) -> None:
        """Move the teacher towards the student: θ_T ← (1 − ν) θ_T + ν θ_S (equation 8)."""
        for mean, parameter in zip(self.teacher.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(parameter, self.options.nu)

    def own_state(self) -> dict[str, Any]:
        """Return the teacher, all statistics, the memory and the count of images."""
        return {
            "teacher": [p.clone() for p in self.teacher.parameters()],
            "statistics": [t.clone() for m in (self.model, self.teacher) for t in statistics(m)],
            "memory": self.memory.state_dict(),
            "seen": self.seen,
        }

    @torch.no_grad()
    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take all of it back."""
        for parameter, value in zip(self.teacher.parameters(), state["teacher"], strict=True):
            parameter.copy_(value)
        half = len(self.trained)
        set_statistics(self.model, state["statistics"][:half])
        set_statistics(self.teacher, state["statistics"][half:])
        self.memory.load_state_dict(state["memory"], self.device)
        self.seen = state["seen"]
