"""Plain texts from files and folders, read as a stream, again for every stage."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve, field, mutable

from kdst_core.contracts import Document
from kdst_core.errors import KdstError, first_line
from kdst_tools.corpora.columns import from_csv, from_parquet, no_column
from kdst_tools.corpora.lines import document_of, numbered_lines, take, unpacked

TEXT = "text"
"""The field or column that holds a text."""
LINES, TABLES = (".jsonl", ".ndjson"), (".csv", ".tsv")


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
            count = len(self.skipped)
            left_out = f" ({count} lines were skipped: {self.skipped[0]})" if count else ""
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
            'Give a .jsonl file ({"text": …} a line), a .csv, .tsv or .parquet file (a column text), a .txt'
            " file (texts apart by empty lines), each but .parquet also as .gz, .bz2 or .xz, or a folder of"
            " them"
        )
    if not path.is_file():
        raise KdstError(f"{flag} {path}: no such file")
    return Corpus(str(path), read).scan()


def _reader(path: Path, text_field: str) -> Callable[[list[str]], Iterator[Document]] | None:
    """Return what reads a file, by the end of its name; None where the format is not known."""
    name = path.name.lower()
    plain = unpacked(name)
    if plain.endswith(LINES):
        return partial(_jsonl, path, text_field)
    if plain.endswith(TABLES):
        return partial(from_csv, path, text_field)
    if plain.endswith(".txt"):
        return partial(_txt, path)
    return partial(from_parquet, path, text_field) if name.endswith(".parquet") else None


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
        try:
            yield from read(lines)
        except KdstError as error:
            reason = first_line(error)
            skipped.append(f"the file {name} ({reason})")
        skipped.extend(f"{name} {line}" for line in lines)


def _jsonl(path: Path, text_field: str, skipped: list[str]) -> Iterator[Document]:
    """One object a line: text, and optionally id and date (YYYY-MM-DD).

    KdstError where there are objects and none has the field that holds the texts.
    """
    fields: list[str] = []
    held = False
    for number, line in numbered_lines(path, skipped):
        if not line.strip():
            continue
        content = _object(line)
        held = held or text_field in content
        fields = fields or list(content)
        yield from take(document_of(content, text_field), f"line {number}", skipped)
    if fields and not held:
        raise KdstError(no_column(path, text_field, fields[:20], "field"))


def _object(line: str) -> dict[str, Any]:
    """Return the object of a JSON line, an empty one where it holds none."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


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
