"""When a checkpoint is due: often enough that a kill costs little, seldom enough that writing does."""

import time
from collections.abc import Callable

from attrs import field, mutable

SHARE = 0.05
"""Share of the time that writing may take."""


@mutable
class Pace:
    """The pace of checkpoints.

    seconds: between two at least. share: of the time, which writing may take. now: the clock, in seconds.
    """

    seconds: float
    share: float = SHARE
    now: Callable[[], float] = field(default=time.monotonic, repr=False)
    took: float = field(default=0.0, init=False)
    written: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.written = self.now()

    def due(self, seconds: float | None = None) -> bool:
        """Return whether the next one is due; seconds: in place of the pace's own, for a larger state."""
        least = self.seconds if seconds is None else seconds
        return self.now() - self.written > max(least, self.took / self.share)

    def write(self, checkpoint: Callable[[], object]) -> None:
        """Write a checkpoint, and take down when that was and how long it took."""
        started = self.now()
        checkpoint()
        self.written = self.now()
        self.took = self.written - started
