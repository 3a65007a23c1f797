"""The most memory that is held while a method predicts."""

from contextlib import suppress
from pathlib import Path

import torch

from kdst_core import memory

SELF = Path("/proc/self")


def begin(device: str) -> None:
    """Forget the peak of before, where the system can; on CUDA that of the device's tensors."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        (SELF / "clear_refs").write_text("5")  # Linux: the high-water mark begins anew


def peak(device: str) -> int:
    """Return the bytes of the peak since `begin`: of the process, on CUDA of the device's tensors.

    Where the system cannot begin anew it is that since the process began, 0 where it does not say.
    """
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError):
        for line in (SELF / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return memory.peak()
