"""Files that somebody else wrote, read without waiting for a writer and up to a length."""

import errno
import os
import stat

MOST = 1 << 22
"""Bytes that are read of metadata."""


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
