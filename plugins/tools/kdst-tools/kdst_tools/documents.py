"""Plain texts from files (.jsonl, .txt, .parquet), read as a stream, again for every stage."""

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import field, mutable

from kdst_core.contracts import Document
from kdst_core.errors import KdstError

FORMATS = (".jsonl", ".txt", ".parquet")


@mutable
class Corpus:
    """Documents that can be iterated over again and again, each id once, in a fixed order.

    read: yields all of them, and appends to `skipped` what it had to leave out, by name.
    count: documents, after `scan`.
    """

    name: str
    read: Callable[[list[str]], Iterator[Document]]
    skipped: list[str] = field(factory=list)
    duplicates: int = 0
    count: int = 0

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents; a text that occurs twice is yielded once."""
        seen: set[str] = set()
        self.skipped, self.duplicates = [], 0
        for document in self.read(self.skipped):
            if document.id in seen:
                self.duplicates += 1
                continue
            seen.add(document.id)
            yield document

    def scan(self) -> "Corpus":
        """Read everything once, to count it and to find what is wrong; KdstError when it is empty."""
        self.count = sum(1 for _ in self)
        if self.count == 0:
            left_out = f" ({len(self.skipped)} lines were skipped)" if self.skipped else ""
            raise KdstError(f"{self.name} holds no text{left_out}; give at least one document")
        return self

    def shards(self, size: int) -> Iterator[list[Document]]:
        """Yield runs of `size` documents, the last one shorter."""
        shard: list[Document] = []
        for document in self:
            shard.append(document)
            if len(shard) == size:
                yield shard
                shard = []
        if shard:
            yield shard

    @property
    def warnings(self) -> list[str]:
        """What was left out."""
        found = []
        if self.skipped:
            named = ", ".join(self.skipped[:3]) + (", …" if len(self.skipped) > 3 else "")
            found.append(f"{len(self.skipped)} lines of {self.name} were skipped: {named}")
        if self.duplicates:
            found.append(f"{self.duplicates} texts of {self.name} occur twice; each was used once")
        return found


def from_file(path: Path) -> Corpus:
    """Return the corpus of a file; KdstError when its format is not known or it cannot be read."""
    readers = {".jsonl": _jsonl, ".txt": _txt, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise KdstError(
            f"--texts {path}: the format {path.suffix or 'without a suffix'} is not known.\n"
            'Give a .jsonl file ({"text": …} a line), a .txt file (texts apart by empty lines) or'
            " a .parquet file (a column text)"
        )
    if not path.is_file():
        raise KdstError(f"--texts {path}: no such file")
    return Corpus(str(path), lambda skipped: reader(path, skipped)).scan()


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file; KdstError that names the line which is none."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as e:
                raise KdstError(
                    f"{path} is not UTF-8: line {number} holds byte {line[e.start]:#04x}.\n"
                    f"Convert it first: iconv -f latin1 -t utf-8 {path.name}"
                ) from e


def _jsonl(path: Path, skipped: list[str]) -> Iterator[Document]:
    """One object a line: text, and optionally id and date (YYYY-MM-DD)."""
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            document = _record(line)
            if document is None:
                skipped.append(f"line {number}")
            else:
                yield document


def _record(line: str) -> Document | None:
    """Return the document of a JSON line, or None where it holds none."""
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return _document(content) if isinstance(content, dict) else None


def _document(content: dict[str, Any]) -> Document | None:
    """Return the document of a row with the columns text, id and date, or None without a text."""
    text, name, date = (content.get(key) for key in ("text", "id", "date"))
    if not isinstance(text, str) or not text.strip():
        return None
    try:
        if isinstance(date, str):
            date = datetime.date.fromisoformat(date[:10])
    except ValueError:
        return None
    if isinstance(date, datetime.datetime):
        date = date.date()
    day = date if isinstance(date, datetime.date) else None
    return Document(text, date=day) if name is None else Document(text, str(name), day)


def _txt(path: Path, _skipped: list[str]) -> Iterator[Document]:
    """Texts apart by empty lines."""
    lines: list[str] = []
    for line in _lines(path):
        if line.strip():
            lines.append(line)
        elif lines:
            yield Document("".join(lines).strip("\r\n"))
            lines = []
    if lines:
        yield Document("".join(lines).strip("\r\n"))


def _parquet(path: Path, skipped: list[str]) -> Iterator[Document]:
    """A column text, and optionally id and date."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as e:
        raise KdstError(f"{path} is not a Parquet file: {str(e).splitlines()[0]}") from e
    columns = [name for name in ("text", "id", "date") if name in file.schema_arrow.names]
    if "text" not in columns:
        raise KdstError(f"{path} has no column text; it has {', '.join(file.schema_arrow.names)}")
    row = 0
    for batch in file.iter_batches(1024, columns=columns):
        for content in batch.to_pylist():
            row += 1
            document = _document(content)
            if document is None:
                skipped.append(f"row {row}")
            else:
                yield document
