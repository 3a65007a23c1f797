"""Documents of tables: CSV and its like, whatever stands between the cells, and Parquet."""

import csv
from collections.abc import Iterator
from pathlib import Path

from kdst_core.contracts import Document
from kdst_core.errors import KdstError, first_line
from kdst_tools.corpora.lines import document_of, numbered_lines, take

LONGEST_CELL = 2**31 - 1
SEPARATORS = ",\t;|"
"""What may stand between cells; the first with which the first row names the column of texts."""


def from_csv(path: Path, text_field: str, skipped: list[str]) -> Iterator[Document]:
    """A column of texts, and optionally id and date, named in the first row.

    A row without a text is skipped and named; so is a quote that is never closed, with what it hides.
    """
    csv.field_size_limit(LONGEST_CELL)
    taken: list[str] = []
    lines = _kept((line for _, line in numbered_lines(path, skipped)), taken)
    first = next(lines, "")
    names, separator = _header(path, first, text_field)
    rows = csv.DictReader(lines, names, delimiter=separator)
    held: tuple[Document | str, str] | None = None
    taken.clear()
    try:
        for row in rows:
            if held is not None:
                yield from take(*held, skipped)
            where = f"line {rows.line_num + 1}"
            held = document_of({k: v for k, v in row.items() if k is not None}, text_field), where
            open_quote = _never_closed(taken, separator) if len(taken) > 1 else False
            taken.clear()
            if open_quote:
                skipped.append(f"lines up to {rows.line_num + 1} (a quote is never closed)")
                held = None
    except csv.Error as e:
        raise KdstError(f"{path} is no CSV file: line {rows.line_num + 1}: {e}") from e
    if held is not None:
        yield from take(*held, skipped)


def _kept(lines: Iterator[str], taken: list[str]) -> Iterator[str]:
    """Pass lines on, and keep them as well."""
    for line in lines:
        taken.append(line)
        yield line


def _header(path: Path, line: str, text_field: str) -> tuple[list[str], str]:
    """The names of the columns and what separates them; KdstError where none holds the texts."""
    found: list[str] = []
    for separator in SEPARATORS:
        names = [name.strip() for name in next(csv.reader([line], delimiter=separator), [])]
        if text_field in names:
            return names, separator
        found = names if len(names) > len(found) else found
    raise KdstError(no_column(path, text_field, found))


def _never_closed(lines: list[str], separator: str) -> bool:
    """Whether the quote that a row of several lines begins with is open at their end."""
    try:
        list(csv.reader(lines, delimiter=separator, strict=True))
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


def no_column(path: Path, text_field: str, names: list[str], what: str = "column") -> str:
    """Return what to say of a table, or lines of objects, without what holds the texts."""
    return (
        f"{path} has no {what} {text_field}; it has {', '.join(filter(None, names)) or 'none'}.\n"
        "Name the one that holds the texts: --text-field NAME"
    )


def from_parquet(path: Path, text_field: str, skipped: list[str]) -> Iterator[Document]:
    """A column of texts, and optionally id and date."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as e:
        raise KdstError(f"{path} is not a Parquet file: {first_line(e)}") from e
    columns = [name for name in (text_field, "id", "date") if name in file.schema_arrow.names]
    if text_field not in columns:
        raise KdstError(no_column(path, text_field, file.schema_arrow.names))
    row = 0
    try:
        for batch in file.iter_batches(1024, columns=columns):
            for content in batch.to_pylist():
                row += 1
                yield from take(document_of(content, text_field), f"row {row}", skipped)
    except (pa.ArrowException, OSError) as e:
        if row == 0:
            raise KdstError(f"{path} cannot be read: {first_line(e)}") from e
        skipped.append(f"rows after {row} ({first_line(e)})")
