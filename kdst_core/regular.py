"""Files that somebody else wrote, read without waiting for a writer and up to a length."""

import errno
import os
import stat
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any

MOST = 1 << 22
"""Bytes that are read of metadata."""
SETTLED = 3_000_000_000
"""Nanoseconds after which the next change of a file has another time in every file system's clock."""
_KEPT: dict[Hashable, tuple[Any, Any]] = {}


def regular(path: str | os.PathLike[str], most: int = MOST) -> bytes:
    """Return what a file holds.

    Raises OSError where it cannot be read, is a folder, a pipe, a socket or a device, or longer than
    `most` bytes; its `strerror` says so in a user's words.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is no regular file", os.fspath(path))
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"is longer than {most >> 20} MiB", os.fspath(path))
    with open(path, "rb", buffering=0) as file:
        return file.readall()[:most]


def refuse_other(path: str | os.PathLike[str], *, folder: bool = False) -> None:
    """Raise OSError where something lies at a path that is no regular file.

    folder: whether a folder may be there too.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not (stat.S_ISREG(mode) or (folder and stat.S_ISDIR(mode))):
        raise OSError(errno.EINVAL, "is no regular file", os.fspath(path))


def kept(
    name: Hashable,
    paths: Iterable[str | os.PathLike[str]],
    read: Callable[[], Any],
    beside: Any = 0,
) -> Any:
    """Return what `read` does, kept for the process while files and folders stay as they are.

    beside: what else it follows from. Nothing is kept of what was changed within the last three seconds.
    """
    state = [*map(_state, paths)], beside
    if name in _KEPT and _KEPT[name][0] == state:
        return _KEPT[name][1]
    found = read()
    if state[0] and max(max(times[:2]) for times in state[0]) < time.time_ns() - SETTLED:
        _KEPT[name] = state, found
    return found


def _state(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """Return what changes with a file or the names in a folder; its times come first."""
    try:
        s = os.stat(path)
    except OSError:
        return (0, 0)
    return s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_ino, s.st_dev, s.st_mode
