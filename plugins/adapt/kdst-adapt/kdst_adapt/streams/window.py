"""A sliding window over a stream, for batches too small to adapt to."""

from collections.abc import Mapping
from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from kdst_core.contracts import Diagnostics, OnlinePredictor


class Windowed:
    """A predictor that is given each batch after the images before it, `length` together at most.

    Its updates and BatchNorm's statistics see the whole window; its logits are those of the batch.
    """

    def __init__(self, inner: OnlinePredictor, length: int) -> None:
        self.inner, self.length = inner, length
        self.size = 0
        self.seen: Tensor | None = None

    def predict(self, x: Tensor) -> Tensor:
        """Return logits (B, num_classes) for images (B, C, H, W)."""
        self.size = len(x)
        window = x if self.seen is None else torch.cat([self.seen, x])
        window = window[-max(self.length, self.size) :]
        self.seen = window.clone()
        return self.inner.predict(window)[-self.size :]

    def reset(self) -> None:
        """Forget the window and everything else."""
        self.seen = None
        self.inner.reset()

    @property
    def diagnostics(self) -> Diagnostics:
        """Those of the predictor, with the logits of the batch."""
        shown = self.inner.diagnostics
        before, after = shown.before_update[-self.size :], shown.after_update[-self.size :]
        return evolve(shown, before_update=before, after_update=after)

    def state_dict(self) -> dict[str, Any]:
        """Return the predictor's state and the window."""
        return {"inner": self.inner.state_dict(), "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self.inner.load_state_dict(state["inner"])
        self.seen = None if state["seen"] is None else state["seen"].clone()
