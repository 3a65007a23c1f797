"""The manifest of a directory of record shards: which parts are complete, of which input."""

import json
import os
from pathlib import Path
from typing import IO, Any, Self

from attrs import asdict, frozen

from kdst_core.errors import KdstError

MANIFEST, FORMAT = "manifest.jsonl", 1


@frozen
class Part:
    """One finished shard: its number, a digest of its input, and what its file must hold."""

    number: int
    source: str
    records: int
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """Name of the file."""
        return part_name(self.number)


def part_name(number: int) -> str:
    """Return the file of a shard, which depends on its number alone: redone work replaces itself."""
    return f"part-{number:08d}.jsonl"


def read_parts(directory: Path, identity: str) -> dict[int, Part]:
    """Return the finished parts of a directory by number, as its manifest lists them.

    Raises KdstError when they are of another input or other options.
    """
    return _read(directory, identity)[0]


def _read(directory: Path, identity: str) -> tuple[dict[int, Part], int]:
    """Return the parts that are listed, and the bytes of the lines that are whole."""
    parts: dict[int, Part] = {}
    whole, path = 0, directory / MANIFEST
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            entry = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            entry = None
        if entry is None:
            break
        if whole:
            part = Part(**entry)
            parts[part.number] = part
        elif entry != {"format": FORMAT, "identity": identity}:
            raise KdstError(
                f"{directory} holds records of another input or of other options.\n"
                "Go on with the same, or give another directory"
            )
        whole += len(line)
    return parts, whole


class Manifest:
    """An append-only list of finished parts; a line cut off by a kill is dropped when it is opened."""

    def __init__(self, directory: Path, identity: str) -> None:
        self.directory = directory
        self.path = directory / MANIFEST
        self.identity = identity
        self.parts: dict[int, Part] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Read what is finished, and go on after it.

        Raises KdstError when the directory belongs to another input or other options.
        """
        self.parts, whole = _read(self.directory, self.identity)
        self._file = self.path.open("ab")
        self._file.truncate(whole)
        if not whole:
            self._write({"format": FORMAT, "identity": self.identity})
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def has(self, number: int, source: str) -> bool:
        """Return whether a shard is finished and its file is there whole.

        Raises KdstError when the shard was made of another input.
        """
        part = self.parts.get(number)
        if part is None:
            return False
        if part.source != source:
            raise KdstError(
                f"{self.directory}: the input of shard {number} is not what it was.\n"
                "Go on with the same input, or give another directory"
            )
        path = self.directory / part.name
        return path.exists() and path.stat().st_size == part.size

    def add(self, part: Part) -> None:
        """List a part whose file is complete."""
        self.parts[part.number] = part
        self._write(asdict(part))

    def _write(self, entry: dict[str, Any]) -> None:
        """Append one line, on disk before this returns."""
        assert self._file is not None
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
