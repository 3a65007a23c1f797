"""The protocol of one run: its shifts, and the rows of every batch."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import define

from kdst_adapt.streams import settings
from kdst_adapt.streams.sampling import cut, ordered
from kdst_adapt.streams.shift import Shift


@define
class Stream:
    """The protocol of one run over a list of shifts.

    parts: into how many parts of a label-correlated stream a class is spread at most, each shift with a
    draw of its own; None spreads over as many as there are classes, by one draw for all shifts.
    """

    shifts: Sequence[Shift]
    batch_size: int
    order: str
    reset: str
    seed: int
    dirichlet: float | None = None
    imbalance: float | None = None
    parts: int | None = None

    def rows(self, shift: Shift) -> list[Any]:
        """Return the rows of each batch of a shift; the same seed gives the same for every shift."""
        own = [] if self.parts is None else [zlib.crc32(shift.key.encode())]
        rng = np.random.default_rng([self.seed, 1, *own])
        order = shift.order or self.order
        rows = ordered(len(shift.labels), order, self.seed)
        if self.imbalance is not None:
            rows = settings.imbalanced(shift.labels, rows, self.imbalance, rng)
        if self.dirichlet is not None:
            rows = settings.correlated(shift.labels, rows, self.dirichlet, rng, self.parts)
        return cut(rows, self.batch_size)

    def begins(self, number: int) -> bool:
        """Return whether the method is reset before a shift: the way up to the way down is no new one."""
        if self.reset != "shift" or number == 0:
            return False
        before, now = self.shifts[number - 1], self.shifts[number]
        gradual = any(s.name.endswith("-down") for s in self.shifts)
        return not gradual or settings.kind(before) != settings.kind(now)

    @property
    def total(self) -> int:
        """Number of batches of all shifts."""
        return sum(len(self.rows(s)) for s in self.shifts)
