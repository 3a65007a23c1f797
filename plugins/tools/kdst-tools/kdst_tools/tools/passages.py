"""The passages of a local corpus: a text file or those of a directory, cut at empty lines."""

import json
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from kdst_core.errors import KdstError

SUFFIXES = (".txt", ".md", ".jsonl")


@frozen
class Passage:
    """title: the file's name or the record's title. text: one paragraph on one line."""

    title: str
    text: str


def read(corpus: Path) -> list[Passage]:
    """Return the passages of a file, or of all files below a directory, in order of their paths.

    .txt and .md: paragraphs. .jsonl: an object a line with `text` and perhaps `title`. KdstError for a
    file that is not UTF-8 or a line that is no such object, and where nothing is found.
    """
    inside = sorted(corpus.rglob("*")) if corpus.is_dir() else [corpus]
    files = [path for path in inside if path.suffix.lower() in SUFFIXES and path.is_file()]
    found = [passage for path in files for passage in _passages(path)]
    if not found:
        raise KdstError(f"{corpus} holds no text; search reads {', '.join(SUFFIXES)} files")
    return found


def _passages(path: Path) -> Iterator[Passage]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise KdstError(f"{path} is not UTF-8 at byte {error.start}; convert it first") from error
    if path.suffix.lower() == ".jsonl":
        yield from _records(path, text)
        return
    for paragraph in text.replace("\r\n", "\n").split("\n\n"):
        if line := " ".join(paragraph.split()):
            yield Passage(path.stem, line)


def _records(path: Path, text: str) -> Iterator[Passage]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            passage = Passage(str(record.get("title", path.stem)), " ".join(record["text"].split()))
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise KdstError(f"{path}, line {number}: no JSON object with a text") from error
        yield passage
