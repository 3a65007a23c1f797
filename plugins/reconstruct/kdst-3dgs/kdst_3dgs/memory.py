"""How many Gaussians the memory at hand holds, so that a run ends with advice and not by the
system's hand."""

import sys
from collections.abc import Callable
from pathlib import Path

from kdst_core.errors import KdstError

KEPT = 16
"""Bytes of training a float: the parameter, its gradient and Adam's two moments."""
COPIED = 12
"""Bytes while density control copies a float: the parameter and its moments once more."""
DRAWN = 400
"""Bytes a Gaussian of the tables of one iteration, measured at 640×480."""


def available() -> int | None:
    """Return the bytes that this process may still take, None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        rows = (group / "memory.stat").read_text().splitlines()
        cached = next(int(row.split()[1]) for row in rows if row.startswith("inactive_file "))
        used = int((group / "memory.current").read_text()) - cached
    except (OSError, StopIteration, ValueError):
        return free
    return max(0, min(free, limit - used))


class Watch:
    """Compares what the next growth needs with what is left.

    floats: of one Gaussian. The first time that twice the need is not there, says so on stderr;
    raises KdstError when the need itself is not. Both name a cap that fits.
    """

    def __init__(self, floats: int, left: Callable[[], int | None] = available) -> None:
        self.floats, self.left, self.warned = floats, left, False

    def start(self, count: int) -> None:
        """Check that training can begin with this many Gaussians."""
        self._check(count, count * (KEPT * self.floats + DRAWN), 0)

    def grown(self, before: int, now: int) -> None:
        """Check that growing once more, by as much as just now, would fit."""
        more = max(0, now - before)
        need = more * (KEPT * self.floats + DRAWN) + (now + more) * COPIED * max(
            1, self.floats - 11
        )
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
