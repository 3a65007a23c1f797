"""What a method leaves running: threads, workers of pools that still work, and processes."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdst_core.plugins.left import of_library, once_quiet, waiting

HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "compile_worker")
"""Words in the command lines of processes that libraries keep."""


def running() -> dict[Any, str]:
    """Return threads and child processes that are alive, with words that name them.

    Those that libraries keep are left out, and the pools of kdst's own benches.
    """
    idle = waiting()
    found: dict[Any, str] = {
        thread.ident: f"the thread {thread.name}"
        for thread in threading.enumerate()
        if not of_library(thread) and not (thread.name.startswith("kdst-") and thread in idle)
    }
    return found | dict(_children())


def _children() -> Iterator[tuple[str, str]]:
    """Yield the child processes of this one, where the system shows them (Linux)."""
    for file in Path("/proc/self/task").glob("*/children"):
        for pid in file.read_text().split():
            try:
                command = Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, UnicodeDecodeError):
                continue
            if command.strip() and not any(word in command for word in HELPERS):
                yield f"process {pid}", f"the process {command.strip()[:60]}"


def left_running(before: Mapping[Any, str]) -> list[str]:
    """Return what runs now and did not before, once it had a second to end."""
    return once_quiet(lambda: [name for key, name in running().items() if key not in before])
