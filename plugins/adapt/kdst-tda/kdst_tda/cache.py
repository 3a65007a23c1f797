"""A cache of features by class that keeps those of lowest entropy (section 3.2)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Cache:
    """Up to `capacity` features of each class, in the order of their entropies; empty places have inf.

    values: what each image adds to the logits, (classes, capacity, C).
    """

    def __init__(self, classes: int, capacity: int, width: int, like: Tensor) -> None:
        self.keys = like.new_zeros(classes, capacity, width)
        self.values = like.new_zeros(classes, capacity, classes)
        self.entropies = like.new_full((classes, capacity), torch.inf)

    def add(self, label: int, feature: Tensor, entropy: float, value: Tensor) -> None:
        """Take a feature (D,) in, in place of the class's most uncertain one, if it is more certain."""
        if not entropy < float(self.entropies[label, -1]):
            return
        for kept, new in ((self.keys, feature), (self.values, value)):
            kept[label, -1] = new
        self.entropies[label, -1] = entropy
        order = self.entropies[label].argsort(stable=True)
        for kept in (self.keys, self.values, self.entropies):
            kept[label] = kept[label][order]

    def logits(self, feature: Tensor, beta: float) -> Tensor:
        """Return Σ exp(−β (1 − f·k)) v over what is kept (equation 2), (C,), of a feature (D,)."""
        likeness = (-beta * (1 - self.keys @ feature)).exp()
        weight = torch.where(self.entropies.isfinite(), likeness, torch.zeros_like(likeness))
        return torch.einsum("ks,ksc->c", weight, self.values)

    def clear(self) -> None:
        """Forget everything."""
        self.keys.zero_()
        self.values.zero_()
        self.entropies.fill_(torch.inf)

    def state_dict(self) -> dict[str, Any]:
        """Return everything as tensors."""
        return {"keys": self.keys, "values": self.values, "entropies": self.entropies}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        for name, kept in self.state_dict().items():
            kept.copy_(state[name])
