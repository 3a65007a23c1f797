"""Memory that a process keeps."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource
import torch
from contextlib import nullcontext
from kdst_adapt.memory import kept_memory

for context in (nullcontext(), kept_memory()):
    with context:
        torch.ones(5 << 20)  # 20 MiB
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            torch.ones(5 << 20)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these parameters")
def test_freed_memory_is_taken_again_without_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    faults, kept = map(int, done.stdout.split())
    assert kept < faults / 10
