"""Plain texts from files and folders, read as a stream, again for every stage."""

import csv
import datetime
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve, field, mutable

from kdst_core.contracts import Document
from kdst_core.errors import KdstError

FORMATS = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".txt", ".txt.gz", ".parquet")
TEXT = "text"
"""The field or column that holds a text."""
LONGEST_CELL = 2**31 - 1


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
        """Yield the documents; a text that occurs twice under one id is yielded once.

        Another text under an id that was given already gets that id with `'` behind it.
        """
        seen: dict[str, int] = {}
        self.skipped, self.duplicates = [], 0
        for document in self.read(self.skipped):
            name, text = document.id, hash(document.text)
            while name in seen and seen[name] != text:
                name += "'"
            if name in seen:
                self.duplicates += 1
                continue
            seen[name] = text
            yield document if name == document.id else evolve(document, id=name)

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
            parts = "lines" if self.skipped[0].startswith(("line", "row")) else "parts"
            found.append(f"{len(self.skipped)} {parts} of {self.name} were skipped: {named}")
        if self.duplicates:
            found.append(f"{self.duplicates} texts of {self.name} occur twice; each was used once")
        return found


def from_file(path: Path, text_field: str = TEXT, flag: str = "--texts") -> Corpus:
    """Return the corpus of a file, or of all files of known formats in a folder and those below it.

    text_field: the field or column that holds a text. flag: that named the file. KdstError when a
    format is not known or something cannot be read.
    """
    if path.is_dir():
        return Corpus(str(path), partial(_folder, path, _files(path), text_field)).scan()
    read = _reader(path, text_field)
    if read is None:
        raise KdstError(
            f"{flag} {path}: the format {path.suffix or 'without a suffix'} is not known.\n"
            'Give a .jsonl file ({"text": …} a line), a .csv or .parquet file (a column text), a .txt'
            " file (texts apart by empty lines), each but .parquet also as .gz, or a folder of them"
        )
    if not path.is_file():
        raise KdstError(f"{flag} {path}: no such file")
    return Corpus(str(path), read).scan()


def _reader(path: Path, text_field: str) -> Callable[[list[str]], Iterator[Document]] | None:
    """Return what reads a file, by the end of its name; None where the format is not known."""
    name = path.name.lower()
    kind = next((end for end in FORMATS if name.endswith(end)), "")
    readers = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
    if kind.startswith(".txt"):
        return partial(_txt, path)
    reader = readers.get(kind.removesuffix(".gz"))
    return None if reader is None else partial(reader, path, text_field)


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder and of those below it, without hidden ones, in order."""
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return [p for p in found if not any(x.startswith(".") for x in p.relative_to(folder).parts)]


def _folder(
    folder: Path, files: list[Path], text_field: str, skipped: list[str]
) -> Iterator[Document]:
    """The texts of files one after the other; what is of another format is named."""
    for path in files:
        name = str(path.relative_to(folder))
        read = _reader(path, text_field)
        if read is None:
            skipped.append(f"the file {name}")
            continue
        lines: list[str] = []
        yield from read(lines)
        skipped.extend(f"{name} {line}" for line in lines)


def numbered_lines(path: Path, skipped: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a UTF-8 file; those that are none are skipped and named."""
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as e:
                    skipped.append(f"line {number} (not UTF-8: byte {line[e.start]:#04x})")
    except (OSError, EOFError, zlib.error) as e:
        raise KdstError(f"{path} cannot be read: {str(e) or type(e).__name__}") from e


def _jsonl(path: Path, text_field: str, skipped: list[str]) -> Iterator[Document]:
    """One object a line: text, and optionally id and date (YYYY-MM-DD)."""
    for number, line in numbered_lines(path, skipped):
        if line.strip():
            document = _record(line, text_field)
            if document is None:
                skipped.append(f"line {number}")
            else:
                yield document


def _csv(path: Path, text_field: str, skipped: list[str]) -> Iterator[Document]:
    """A column text, and optionally id and date, named in the first row."""
    csv.field_size_limit(LONGEST_CELL)
    rows = csv.DictReader(line for _, line in numbered_lines(path, skipped))
    try:
        if text_field not in (rows.fieldnames or ()):
            raise KdstError(_no_column(path, text_field, list(rows.fieldnames or ())))
        for row in rows:
            document = _document(row, text_field)
            if document is None:
                skipped.append(f"line {rows.line_num}")
            else:
                yield document
    except csv.Error as e:
        raise KdstError(f"{path} is no CSV file: line {rows.line_num}: {e}") from e


def _no_column(path: Path, text_field: str, names: list[str]) -> str:
    """What to say of a table without the column that holds the texts."""
    return (
        f"{path} has no column {text_field}; it has {', '.join(names) or 'none'}.\n"
        "Name the one that holds the texts: --text-field NAME"
    )


def _record(line: str, text_field: str) -> Document | None:
    """Return the document of a JSON line, or None where it holds none."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return _document(content, text_field) if isinstance(content, dict) else None


def _document(content: dict[str, Any], text_field: str) -> Document | None:
    """Return the document of a row with the columns text, id and date, or None without a text.

    A text with half of a surrogate pair is none: no tokenizer and no file takes it.
    """
    text, name, date = (content.get(key) for key in (text_field, "id", "date"))
    if not isinstance(text, str) or not text.strip() or not _is_unicode(f"{text}{name}"):
        return None
    try:
        if isinstance(date, str) and date.strip():
            date = datetime.date.fromisoformat(date[:10])
    except ValueError:
        return None
    if isinstance(date, datetime.datetime):
        date = date.date()
    day = date if isinstance(date, datetime.date) else None
    return Document(text, date=day) if name in (None, "") else Document(text, str(name), day)


def _is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _txt(path: Path, skipped: list[str]) -> Iterator[Document]:
    """Texts apart by empty lines; one with a line that was skipped is left out as a whole."""
    lines: list[str] = []
    whole = len(skipped)
    for _, line in numbered_lines(path, skipped):
        if line.strip():
            lines.append(line)
            continue
        if lines and len(skipped) == whole:
            yield Document("".join(lines).strip("\r\n"))
        lines, whole = [], len(skipped)
    if lines and len(skipped) == whole:
        yield Document("".join(lines).strip("\r\n"))


def _parquet(path: Path, text_field: str, skipped: list[str]) -> Iterator[Document]:
    """A column text, and optionally id and date."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as e:
        raise KdstError(f"{path} is not a Parquet file: {str(e).splitlines()[0]}") from e
    columns = [name for name in (text_field, "id", "date") if name in file.schema_arrow.names]
    if text_field not in columns:
        raise KdstError(_no_column(path, text_field, file.schema_arrow.names))
    row = 0
    for batch in file.iter_batches(1024, columns=columns):
        for content in batch.to_pylist():
            row += 1
            document = _document(content, text_field)
            if document is None:
                skipped.append(f"row {row}")
            else:
                yield document
