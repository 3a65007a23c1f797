"""What was recovered is personal data: files and folders that only their owner may read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def private(directory: Path) -> Iterator[None]:
    """Close a directory and the files in it to others, and make new files (0600) likewise."""
    directory.chmod(0o700)
    for path in directory.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
