"""What a method is judged by, held where its calls cannot reach it: not in any object or frame."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO, Any

from attrs import frozen

_closed = 0


@frozen
class Sealed:
    """Bytes in a file without a name; the object knows only where they lie."""

    offset: int
    length: int

    def read(self) -> bytes:
        """Return the bytes; RuntimeError while a method's call is under way."""
        if _closed:
            raise RuntimeError("what a method is judged by cannot be read while the method works")
        return os.pread(_store().fileno(), self.length, self.offset)


def seal(data: bytes) -> Sealed:
    """Put bytes away until they are read."""
    file = _store()
    offset = os.fstat(file.fileno()).st_size
    file.write(data)
    return Sealed(offset, len(data))


@contextmanager
def closed() -> Iterator[None]:
    """Let nothing sealed be read within the block: a method works in it."""
    global _closed
    _closed += 1
    try:
        yield
    finally:
        _closed -= 1


@cache
def _store() -> IO[Any]:
    """Return the file of this process; it has no name, and is gone with the process."""
    return tempfile.TemporaryFile("a+b", buffering=0)
