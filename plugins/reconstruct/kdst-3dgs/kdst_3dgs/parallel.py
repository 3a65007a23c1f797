"""Threads for kernels that run without the GIL, and a word to the user while they compile."""

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

import numba.core.event

_event: Any = numba.core.event


def available_threads() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(maxsize=8)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kdst-3dgs")


def split_work(work: Callable[..., None], total: int, threads: int, *args: Any) -> None:
    """Call work(first, last, *args) over range(total), in pieces when there are several threads.

    Plain threads rather than OpenMP: idle ones sleep, and none fight with torch's own.
    """
    if threads == 1 or total < 2:
        work(0, total, *args)
        return
    size = max(1, -(-total // (4 * threads)))
    jobs = [
        _pool(threads).submit(work, first, min(first + size, total), *args)
        for first in range(0, total, size)
    ]
    for job in jobs:
        job.result()


class _Announcer(_event.Listener):  # type: ignore[misc]
    """Says once that kernels are compiled when numba starts on one that it did not find on disk."""

    def __init__(self, kept: bool) -> None:
        self.kept = kept

    def on_start(self, event: Any) -> None:
        _announce(self.kept)

    def on_end(self, event: Any) -> None:
        pass


@contextmanager
def compiling(kept: bool) -> Iterator[None]:
    """Say on stderr, once, when the body compiles kernels; `kept`: whether later runs find them."""
    with _event.install_listener("numba:compile", _Announcer(kept)):
        yield


@cache
def _announce(kept: bool) -> None:
    often = (
        "this happens once"
        if kept
        else "no directory for them is writable (set NUMBA_CACHE_DIR to one), so every run does this"
    )
    print(f"Compiling the CPU kernels, about 15 s; {often} …", file=sys.stderr, flush=True)
