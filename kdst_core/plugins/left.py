"""Threads that a method leaves at work: its own, and workers of pools that are not done."""

import _thread
import math
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from kdst_core.plugins.process_state import is_kdst

PATIENCE = 1.0
"""Seconds in which threads may end, and workers of pools their work."""
POOLS = "concurrent.futures.thread"
SOONEST, LATEST = 0.0005, 0.02
"""Seconds between looks at what runs, of which each is twice the one before."""
_uncounted: "weakref.WeakKeyDictionary[Any, int]" = weakref.WeakKeyDictionary()
"""How many idle workers a pool does not count: a busy worker may take what was given while the count of
one that stays asleep goes down, and it never comes back."""


def of_library(thread: threading.Thread) -> bool:
    """Return whether a thread is one that a library keeps."""
    target = getattr(thread, "_target", None)
    of = f"{type(thread).__module__} {getattr(target, '__module__', '')}"
    return any(map(_is_library, of.split()))


def _is_library(module: str) -> bool:
    """Return whether a module is of a library that keeps threads, or of kdst itself."""
    return is_kdst(module) or module.partition(".")[0] in ("tqdm", "torch", "joblib", "rich")


def _of_pool(thread: threading.Thread) -> bool:
    """Return whether a thread is a worker of a pool of `concurrent.futures`."""
    return getattr(getattr(thread, "_target", None), "__module__", "") == POOLS


def waiting() -> set[threading.Thread]:
    """Return the workers of pools that have nothing to do, all looked at in one moment.

    The frame of each is that of the pool's loop and no other, no work lies in the pool's queue, and none
    was handed to a worker that has not woken up: the pool counts those that are idle, and from Python
    3.13 on its queue is empty by then. Of a pool that counts fewer than seem to wait, none is taken.
    """
    return {t for pool, some in _by_pool().items() if len(some) <= _idle(pool) for t in some}


def _by_pool(*, waits: bool = True) -> dict[Any, list[threading.Thread]]:
    """Return the workers that seem to wait, or those that do not, by their pool."""
    frames = sys._current_frames()
    by_pool: dict[Any, list[threading.Thread]] = {}
    for thread in filter(_of_pool, threading.enumerate()):
        arguments = vars(thread).get("_args", ())
        if _seems_to_wait(thread, frames, arguments) == waits:
            pool = next((p() for p in arguments if isinstance(p, weakref.ref)), None)
            by_pool.setdefault(pool, []).append(thread)
    return by_pool


def _count_sleepers(busy: Collection[Any]) -> None:
    """Keep how many workers of each pool sleep uncounted, but for pools that were seen at work."""
    for pool, some in _by_pool().items():
        if len(some) > _idle(pool) and pool not in busy:
            _uncounted[pool] = _uncounted.get(pool, 0) + len(some) - int(_idle(pool))


def _seems_to_wait(thread: threading.Thread, frames: Mapping[int, Any], given: Any) -> bool:
    """Return whether a worker is in the loop of its pool, whose queue is empty."""
    loop: Any = vars(thread).get("_target")
    frame = frames.get(thread.ident or 0)
    queues = [q for q in given if hasattr(q, "get_nowait")]
    return frame is not None and frame.f_code is loop.__code__ and all(q.empty() for q in queues)


def _idle(pool: Any) -> float:
    """Return how many workers of a pool are idle; any number for one that is gone."""
    idle: float = getattr(getattr(pool, "_idle_semaphore", None), "_value", math.inf)
    return idle + (_uncounted.get(pool, 0) if pool is not None else 0)


class Threads:
    """The threads before a call, to be asked after it which of its own still work, or what else watches.

    Workers of pools that wait at both times are nobody's; one that was given work within the call and is
    still at it is the call's own.
    """

    def __init__(self) -> None:
        self.before = threading.enumerate()
        self.count = _thread._count()
        self.working = set(self.before) - waiting()
        self.watching = watching()

    def left(self) -> list[str]:
        """Return what the call left at work, once it had a second to end, or watching."""
        if seen := [name for name, value in watching().items() if value != self.watching[name]]:
            return seen
        if _thread._count() <= self.count and not any(map(_of_pool, threading.enumerate())):
            return []
        busy: set[Any] = set()
        half = time.monotonic() + PATIENCE / 2

        def look() -> list[str]:
            if time.monotonic() > half:
                busy.update(_by_pool(waits=False))
            return self._left()

        if left := once_quiet(look):
            _count_sleepers(busy)  # who was given work has had time to wake up
            left = self._left()
        return left

    def _left(self) -> list[str]:
        """Return what works now and did not before, also threads that `threading` does not know."""
        idle, now = waiting(), threading.enumerate()
        fresh = [t for t in now if t not in self.working and t not in idle]
        left = [f"the thread {t.name}" for t in fresh if not of_library(t)]
        if _thread._count() > self.count + len([t for t in now if t not in self.before]):
            left.append("a thread without a name")
        return left


def watching() -> dict[str, Any]:
    """Return by what code sees what others do later: tracers, and alarms, which run in anybody's frames."""
    watchers: dict[str, Any] = {
        "a tracer (sys.settrace)": sys.gettrace(),
        "a profiler (sys.setprofile)": sys.getprofile(),
    }
    if hasattr(signal, "getitimer"):
        timers = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
        watchers["an alarm (signal.setitimer)"] = [signal.getitimer(t) != (0, 0) for t in timers]
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is not None:
        watchers["a monitor (sys.monitoring)"] = [monitoring.get_tool(n) for n in range(6)]
    return watchers


def once_quiet(look: Callable[[], Sequence[str]]) -> list[str]:
    """Look until nothing is found or patience is at an end; return what was found last."""
    end, pause = time.monotonic() + PATIENCE, SOONEST
    while True:
        found = list(look())
        if not found or time.monotonic() > end:
            return found
        time.sleep(pause)
        pause = min(2 * pause, LATEST)
