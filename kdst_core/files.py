"""Files that are whole or not there, and directories that one process has at a time."""

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdst_core.errors import BusyError, KdstError

LOCK = ".lock"
TEMPORARY = re.compile(r"\..+\.\d+(\.\w+)?")
"""Names under which what is not whole yet is written; a kill may leave one behind."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file by new content, or leave it as it was."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a path to write to; the file there replaces `path` when the block ends, and goes if it fails.

    The yielded path lies beside `path` and ends like it, for writers that go by the suffix. durable: the
    file also outlives a loss of power, for a wait on the disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder to fill; it replaces `path` when the block ends, and goes if it fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        move_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def move_folder(source: Path, target: Path) -> None:
    """Put a folder in the place of another on the same disk; what was there goes once it has moved."""
    if not target.exists():
        os.replace(source, target)
        return
    old = target.with_name(f".{target.name}.old.{os.getpid()}")
    os.replace(target, old)
    try:
        os.replace(source, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def is_temporary(path: Path) -> bool:
    """Return whether a file or folder is what a write that was cut off left behind."""
    return bool(TEMPORARY.fullmatch(path.name))


def remove_temporaries(directory: Path) -> None:
    """Remove what writes that were cut off left under a directory that this process has locked."""
    for path in list(directory.rglob("*")):
        if not is_temporary(path):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def refuse_links(directory: Path) -> None:
    """Raise KdstError where a directory that somebody may have sent holds a link, a pipe or a device:
    what is written to it would go elsewhere."""
    for path in directory.rglob("*"):
        status = path.lstat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise KdstError(f"{path} is a link or no regular file; a run holds its own files only")
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            told = "is also a file elsewhere (a hard link); copy the run, then resume"
            raise KdstError(f"{path} {told}")


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
