"""Memory that one layer's output leaves to the next."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of glibc's parameters, malloc.h."""
LARGEST = 32 << 20
"""Bytes of the largest blocks that glibc can be made to keep."""


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let this process keep the memory that it frees in the body, where the C library is glibc.

    By itself glibc returns blocks of megabytes to the system, which clears every page of them before
    the next layer may write: a tenth of the time of adaptation on a CPU. What is free at the end of the
    body goes back, and glibc returns blocks as it does of itself once it has freed some of the largest.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_THRESHOLD, LARGEST)
    libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(TRIM_THRESHOLD, 2 * LARGEST)
        libc.malloc_trim(0)
