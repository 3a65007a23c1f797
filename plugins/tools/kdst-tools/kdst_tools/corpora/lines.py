"""Lines of text files, compressed or not, and the documents that rows hold."""

import bz2
import datetime
import gzip
import lzma
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from kdst_core.contracts import Document
from kdst_core.errors import KdstError
from kdst_tools.calls.visible import stripped

PACKED: Mapping[str, Callable[[Path], IO[bytes]]] = {
    ".gz": gzip.open,  # type: ignore[dict-item]
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
"""What opens a compressed file, by the end of its name."""
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)
_WIDE = (b"\xff\xfe", b"\xfe\xff")


def unpacked(name: str) -> str:
    """Return a file's name without the end that says how it is compressed."""
    for end in PACKED:
        name = name.removesuffix(end)
    return name


def numbered_lines(path: Path, skipped: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a UTF-8 file; those that are none are skipped and named.

    So is what follows where a compressed file is damaged. KdstError where nothing can be read.
    """
    number, opened = (
        0,
        next((o for end, o in PACKED.items() if path.name.lower().endswith(end)), None),
    )
    try:
        with path.open("rb") if opened is None else opened(path) as file:
            for number, line in enumerate(file, 1):
                if number == 1 and line.startswith(_WIDE):
                    raise KdstError(f"{path} cannot be read: it is UTF-16; convert it to UTF-8")
                try:
                    yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    skipped.append(f"line {number} (not UTF-8: byte {line[error.start]:#04x})")
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        if number == 0:
            raise KdstError(f"{path} cannot be read: {reason}") from error
        skipped.append(f"lines after {number} ({reason})")


def document_of(content: Mapping[str, Any], text_field: str) -> Document | str:
    """Return the document of a row with the columns text, id and date, or in words what is wrong with it.

    The words are empty where there is no text. A text with half of a surrogate pair is none: no
    tokenizer and no file takes it.
    """
    text, name, date = (_given(content.get(key)) for key in (text_field, "id", "date"))
    if not isinstance(text, str) or not text.strip() or not is_unicode(f"{text}{name}"):
        return ""
    try:
        day = _day(date)
    except ValueError:
        return f"its date is {stripped(str(date))[:20]!r}, not YYYY-MM-DD"
    return Document(text, date=day) if name in (None, "") else Document(text, str(name), day)


def take(document: Document | str, where: str, skipped: list[str]) -> Iterator[Document]:
    """Yield the document of a row, or name the row and what is wrong with it."""
    if isinstance(document, str):
        skipped.append(f"{where} ({document})" if document else where)
    else:
        yield document


def _given(value: Any) -> Any:
    """A value, None for the NaN that tables write for nothing."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _day(date: Any) -> datetime.date | None:
    """The day of a date as files have it, `20240305` as a number too; ValueError for another value."""
    if isinstance(date, datetime.datetime):
        return date.date()
    if date is None or isinstance(date, datetime.date):
        return date
    written = str(date).strip()
    return datetime.date.fromisoformat(written[:10]) if written else None


def is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
