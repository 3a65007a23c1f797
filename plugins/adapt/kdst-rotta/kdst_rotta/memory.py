"""Category-balanced sampling with timeliness and uncertainty (section 3.3, algorithm 1)."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from attrs import define
from torch import Tensor

FEWEST_CLASSES = 2
"""Uncertainty is relative to ln C, of two classes at least."""


@define
class Item:
    """An image (C, H, W) in the memory, its entropy in nats, and how many images came since."""

    image: Tensor
    uncertainty: float
    age: int = 0


class Memory:
    """At most `capacity` images, spread over the predicted classes."""

    def __init__(self, capacity: int, classes: int, lambda_t: float, lambda_u: float) -> None:
        self.capacity, self.lambda_t, self.lambda_u = capacity, lambda_t, lambda_u
        self.quota = capacity / classes
        self.largest = math.log(max(classes, FEWEST_CLASSES))
        self.items: list[list[Item]] = [[] for _ in range(classes)]

    def __len__(self) -> int:
        """Return how many images are held."""
        return sum(map(len, self.items))

    def add(self, image: Tensor, label: int, uncertainty: float) -> None:
        """Offer an image (C, H, W) with its predicted class and entropy; all that is held ages."""
        new = Item(image.clone(), uncertainty)
        if self._make_room(label, self.score(new)):
            self.items[label].append(new)
        for item in self._all():
            item.age += 1

    def score(self, item: Item) -> float:
        """Return λ_t / (1 + exp(−A/N)) + λ_u U / ln C: the higher, the sooner it goes (equation 4)."""
        timeliness = 1 / (1 + math.exp(-item.age / self.capacity))
        return self.lambda_t * timeliness + self.lambda_u * item.uncertainty / self.largest

    def _make_room(self, label: int, score: float) -> bool:
        """Return whether an image of a class and score may enter, having dropped one where it must.

        A class at its quota gives up one of its own, a full memory one of its largest classes.
        """
        if len(self.items[label]) >= self.quota:
            return self._drop([self.items[label]], score)
        if len(self) < self.capacity:
            return True
        most = max(map(len, self.items))
        return self._drop([held for held in self.items if len(held) == most], score)

    def _drop(self, searched: Iterable[list[Item]], score: float) -> bool:
        """Drop the item of the highest score, the last of equals, if that is above the given one."""
        candidates = [(self.score(item), held, item) for held in searched for item in held]
        highest = max(value for value, _, _ in candidates)
        if highest <= score:
            return False
        _, held, worst = next(c for c in reversed(candidates) if c[0] == highest)
        held[:] = [item for item in held if item is not worst]
        return True

    def content(self) -> tuple[Tensor, Tensor]:
        """Return the images (n, C, H, W), class by class, and their ages (n,) in shares of capacity."""
        items = list(self._all())
        ages = torch.tensor([item.age / self.capacity for item in items], dtype=torch.float64)
        return torch.stack([item.image for item in items]), ages

    def _all(self) -> Iterable[Item]:
        """Yield every item, class by class."""
        return (item for held in self.items for item in held)

    def state_dict(self) -> dict[str, Any]:
        """Return what is held as tensors and plain values."""
        held = [(label, i) for label, items in enumerate(self.items) for i in items]
        return {
            "labels": [label for label, _ in held],
            "ages": [item.age for _, item in held],
            "uncertainties": [item.uncertainty for _, item in held],
            "images": [item.image for _, item in held],
        }

    def load_state_dict(self, state: Mapping[str, Any], device: str) -> None:
        """Hold what `state` says on a device, and nothing else."""
        self.items = [[] for _ in self.items]
        rows = zip(*(state[k] for k in ("labels", "images", "uncertainties", "ages")), strict=True)
        for label, image, uncertainty, age in rows:
            self.items[label].append(Item(image.to(device, copy=True), uncertainty, age))
