"""Memory that a process keeps."""

import platform
import resource
import subprocess
import sys

import pytest

from kdst_adapt import allocator

COUNT = """
import resource
import torch
from contextlib import nullcontext
from kdst_adapt.allocator import kept_memory

for context in (nullcontext(), kept_memory()):
    with context:
        for _ in range(10):  # small blocks find their places
            torch.ones(25 << 20)  # 100 MiB, more than glibc keeps
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            torch.ones(25 << 20)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these parameters")
def test_freed_memory_is_taken_again_without_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    faults, kept = map(int, done.stdout.split())
    assert kept < faults / 10


AFTERWARDS = """
import ctypes
import os
from kdst_adapt.allocator import kept_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.memset.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
libc.free.argtypes = (ctypes.c_void_p,)

statm = os.open("/proc/self/statm", os.O_RDONLY)

def resident():
    return int(os.pread(statm, 100, 0).split()[1])

def work():  # blocks without anything small between them, which would hold them back
    blocks = [libc.malloc(20 << 20) for _ in range(10)]
    for block in blocks:
        libc.memset(block, 1, 20 << 20)
    full = resident()
    for block in reversed(blocks):
        libc.free(block)
    return full - resident()

with kept_memory():
    print(work())
print(work())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these parameters")
def test_what_is_freed_afterwards_goes_back_to_the_system() -> None:
    command = [sys.executable, "-c", AFTERWARDS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    during, after = map(int, done.stdout.split())
    half = (100 << 20) // resource.getpagesize()
    assert during < half < after


STREAM = """
import os
import random

import torch
from kdst_adapt.allocator import kept_memory

statm = os.open("/proc/self/statm", os.O_RDONLY)
sizes = random.Random(0)

def resident():
    return int(os.pread(statm, 100, 0).split()[1])

def layers(kept):  # a network's: of changing sizes, held until the last, beside small ones that stay
    held = []
    for _ in range(8):
        held.append(torch.ones(sizes.randrange(1 << 20, 6 << 20)))
        kept.append(torch.ones(100))
    return held

with kept_memory() as memory:
    before, small, tops = resident(), [], []
    for batch in range(60):
        layers(small)
        memory.bound()
        tops.append(resident() - before)
print(max(tops), resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these parameters")
def test_what_is_kept_stays_bounded_over_a_stream_and_goes_back_at_its_end() -> None:
    command = [sys.executable, "-c", STREAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    top, after = map(int, done.stdout.split())
    most = (8 * (24 << 20)) // resource.getpagesize()  # in use at once
    assert top < 2 * most
    assert after < most / 10


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert allocator.glibc() is None
    with allocator.kept_memory():
        pass
