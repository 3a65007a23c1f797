"""Memory that a process keeps when it frees it, so that the system need not clear it for the next batch."""

import ctypes
import mmap
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FAST_SIZE, TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = 1, -1, -3, -4
"""Names of glibc's parameters, malloc.h."""
FAST = 128
"""Bytes of the largest blocks that glibc does not join to their free neighbours, unless told otherwise."""
NEVER = -1
"""Threshold that no amount of free memory reaches."""
MAPPINGS = 1 << 16
"""Blocks that glibc maps one by one at most, unless told otherwise."""
LARGEST = 32 << 20
"""Bytes from which glibc maps a block of its own once it has freed some of the largest."""
GAPS = 1.25
"""Most that a process may hold, over what it held after the first batch."""
STATM = Path("/proc/self/statm")


class Kept:
    """The memory of a process that keeps what it frees."""

    def __init__(self, libc: Any) -> None:
        self.libc, self.needed = libc, 0

    def bound(self) -> None:
        """Between batches: give back what is free where gaps between blocks have grown over them.

        Blocks that stay split the free parts of the heap, so that a larger block finds no room there and
        the heap grows. What a batch needs is what the process holds after the first one, or after the
        first since something was given back.
        """
        if self.libc is None:
            return
        held = resident()
        if not self.needed:
            self.needed = held
        elif held > GAPS * self.needed:
            self.libc.malloc_trim(0)
            self.needed = 0


@contextmanager
def kept_memory() -> Iterator[Kept]:
    """Let this process keep the memory that it frees in the body, where the C library is glibc.

    By itself glibc maps every block above 32 MiB anew and returns it when it is freed, and returns
    smaller ones too; the system clears every page of them before the next layer may write. Within the
    body blocks of all sizes come from one heap, which grows only where no free part of it holds a new
    block; `Kept.bound` holds it to what a batch needs. What is free at the end goes back, and glibc then
    maps and returns blocks as it does of itself.
    """
    libc = glibc()
    kept = Kept(libc)
    if libc is None:
        yield kept
        return
    # what stays unjoined leaves no room for an aligned block of the same size
    libc.mallopt(FAST_SIZE, 0)
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield kept
    finally:
        libc.mallopt(FAST_SIZE, FAST)
        libc.mallopt(MMAP_MAX, MAPPINGS)
        libc.mallopt(MMAP_THRESHOLD, LARGEST)
        libc.mallopt(TRIM_THRESHOLD, 2 * LARGEST)
        libc.malloc_trim(0)


def glibc() -> Any:
    """Return the C library of this process, None where it is not glibc."""
    if platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)


def resident() -> int:
    """Return the bytes of this process that lie in memory, 0 where the system does not say."""
    with suppress(OSError):
        return int(STATM.read_text().split()[1]) * mmap.PAGESIZE
    return 0
