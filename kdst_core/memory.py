"""How much memory is at hand and in use, so that work that does not fit is refused before it starts."""

import sys
from pathlib import Path


def left() -> int | None:
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


def peak() -> int:
    """Return the most bytes that this process held at once, 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def as_text(size: int) -> str:
    """Return bytes as people read them: 310 MiB, 2.4 GiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{max(1, size >> 20):,} MiB"
