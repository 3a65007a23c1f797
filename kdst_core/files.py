"""Files that are whole or not there, and directories that one process has at a time."""

import os
import re
import stat
from pathlib import Path
from typing import Any

from kdst_core.errors import BusyError, KdstError

LOCK = ".lock"
TEMPORARY = re.compile(r"\..+\.\d+")
"""Names under which `write_atomically` writes; a kill may leave one behind."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file by new content, or leave it as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    data = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def is_temporary(path: Path) -> bool:
    """Return whether a file is what a write that was cut off left behind."""
    return bool(TEMPORARY.fullmatch(path.name))


def remove_temporaries(directory: Path) -> None:
    """Remove what writes that were cut off left under a directory that this process has locked."""
    for path in directory.rglob("*"):
        if is_temporary(path):
            path.unlink(missing_ok=True)


def refuse_links(directory: Path) -> None:
    """Raise KdstError where a directory that somebody may have sent holds a link, a pipe or a device:
    what is written to it would go elsewhere."""
    for path in directory.rglob("*"):
        found = path.lstat()
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise KdstError(f"{path} is a link or no regular file; a run holds its own files only")
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            raise KdstError(
                f"{path} is also a file elsewhere (a hard link); copy the run, then resume"
            )


def claim(directory: Path) -> Any:
    """Return the lock of a directory, held; BusyError when another live process holds it."""
    from filelock import FileLock, Timeout

    lock = FileLock(directory / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(f"another process is running in {directory}") from None
    return lock


def give_back(lock: Any) -> None:
    """Give a directory back: its lock file goes first, so that no other process waits for a dead one."""
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
