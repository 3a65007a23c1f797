"""When a training writes its state: seldom enough that writing costs little time and few bytes."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from attrs import field, mutable

SECONDS = 5.0
"""Seconds between two states at least; so much a kill costs where states are small."""
SHARE = 0.05
"""Share of the time that writing may take."""
SMALL = 12_500_000
"""Bytes of a state that is written every `SECONDS`; a larger one waits longer in proportion."""
PART, LONG = 3, 600.0
"""A larger state waits for a third of the steps too, or for so many seconds."""


@mutable
class Pace:
    """Says when the next state of a training is due.

    total: its steps. steps: since the last state. written: when that was. took: how long writing took.
    """

    total: int
    steps: int = 0
    written: float = field(factory=time.monotonic)
    took: float = 0.0

    def due(self, step: int, state: Mapping[str, Any]) -> bool:
        """Whether to write the state behind a step; never behind the last, whose model is saved."""
        self.steps += 1
        size, age = held(state), time.monotonic() - self.written
        if step >= self.total or age <= max(SECONDS * max(1.0, size / SMALL), self.took / SHARE):
            return False
        return size <= SMALL or age > LONG or PART * self.steps >= self.total

    def wrote(self, seconds: float) -> None:
        """Take down that a state was written, and how long that took."""
        self.steps, self.took, self.written = 0, seconds, time.monotonic()


def held(state: Any) -> int:
    """Return the bytes of all tensors of a state."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, Mapping):
        return sum(map(held, state.values()))
    return sum(map(held, state)) if isinstance(state, list | tuple) else 0
