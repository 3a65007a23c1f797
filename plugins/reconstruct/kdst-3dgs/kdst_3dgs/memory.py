"""How many Gaussians the memory at hand holds, so that a run ends with advice and not by the
system's hand."""

import sys
from collections.abc import Callable

from kdst_core import memory
from kdst_core.errors import KdstError

KEPT = 16
"""Bytes of training a float: the parameter, its gradient and Adam's two moments."""
COPIED = 12
"""Bytes while density control copies a float: the parameter and its moments once more."""
DRAWN = 400
"""Bytes a Gaussian of the tables of one iteration, measured at 640×480."""
PICTURED = 120
"""Bytes a pixel of the images and maps of one iteration: target, render, loss and gradients."""


class Watch:
    """Compares what the next growth needs with what is left.

    floats: of one Gaussian. The first time that twice the need is not there, says so on stderr;
    raises KdstError when the need itself is not. Both name a cap that fits.
    """

    def __init__(self, floats: int, left: Callable[[], int | None] = memory.left) -> None:
        self.floats, self.left, self.warned = floats, left, False

    def start(self, count: int, pixels: int = 0) -> None:
        """Check that training can begin with this many Gaussians, and photographs of at most so
        many pixels, of which one iteration draws one."""
        self._check(count, self.growth(count) + PICTURED * pixels, 0)

    def growth(self, more: int) -> int:
        """Return the bytes that so many Gaussians more need."""
        return more * (KEPT * self.floats + DRAWN)

    def grown(self, before: int, now: int) -> None:
        """Check that growing once more, by as much as just now, would fit."""
        more = max(0, now - before)
        need = self.growth(more) + (now + more) * COPIED * max(1, self.floats - 11)
        self._check(now, need if more else 0, now)

    def _check(self, count: int, need: int, held: int) -> None:
        left = self.left()
        if left is None or need * 2 <= left:
            return
        each = (KEPT + COPIED) * self.floats + DRAWN
        cap = max(1000, (held + int(0.8 * left / each)) // 1000 * 1000)
        state = f"{count:,} Gaussians, {left >> 20:,} MiB of memory left"
        todo = f"--cap-max {cap} keeps within it, and a smaller --width needs less"
        if need > left:
            raise KdstError(f"memory is about to run out: {state}.\nStart again: {todo}")
        if not self.warned:
            self.warned = True
            print(f"Memory gets short: {state}; {todo}.", file=sys.stderr, flush=True)
