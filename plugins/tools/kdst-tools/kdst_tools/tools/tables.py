"""Look-ups in a user's table: a CSV file or a SQLite database, never written to."""

import csv
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from kdst_core.errors import KdstError, did_you_mean

Lookup = Callable[[str], str]


def key_of(text: str) -> str:
    """Return the form in which keys are compared: without case and outer spaces."""
    return " ".join(text.split()).casefold()


def described(columns: list[str], row: list[str]) -> str:
    """Return what a row says beside its key: the value alone, or `column: value` for each of several."""
    if len(columns) == 1:
        return row[0]
    return ", ".join(f"{name}: {value}" for name, value in zip(columns, row, strict=True) if value)


def from_csv(path: Path) -> Lookup:
    """Return the look-up of a CSV file with a header: first column to the others."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise KdstError(f"{path} is no CSV file in UTF-8: {error}") from error
    if len(rows) < 2 or len(rows[0]) < 2:
        raise KdstError(f"{path} needs a header and rows of at least two columns, the key first")
    header, *body = rows
    uneven = next((i for i, row in enumerate(body, 2) if len(row) != len(header)), None)
    if uneven:
        raise KdstError(f"{path}, row {uneven}: {len(body[uneven - 2])} columns, not {len(header)}")
    known = {key_of(row[0]): described(header[1:], row[1:]) for row in reversed(body)}
    return lambda asked: _found(known.get(key_of(asked)), asked)


def from_sqlite(path: Path, table: str | None) -> Lookup:
    """Return the look-up of a table: its first column to the others; the file is opened read-only."""
    with closing(_opened(path)) as database:
        name = _table(database, path, table)
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({_quoted(name)})")]
    if len(columns) < 2:
        raise KdstError(f"{path}: the table {name} needs at least two columns, the key first")
    shown = ", ".join(map(_quoted, columns[1:]))
    key = _quoted(columns[0])
    query = f"SELECT {shown} FROM {_quoted(name)} WHERE {key} = ? COLLATE NOCASE LIMIT 1"

    def lookup(asked: str) -> str:
        with closing(_opened(path)) as database:
            row = database.execute(query, (" ".join(asked.split()),)).fetchone()
        values = None if row is None else ["" if v is None else str(v) for v in row]
        return _found(described(columns[1:], values) if values else None, asked)

    return lookup


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def _table(database: sqlite3.Connection, path: Path, wanted: str | None) -> str:
    """Return the table to use; KdstError where it is not there or the choice is the user's."""
    kinds = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
    try:
        names = [row[0] for row in database.execute(kinds)]
    except sqlite3.DatabaseError as error:
        raise KdstError(f"{path} is no SQLite database: {error}") from error
    if wanted is None and len(names) == 1:
        return str(names[0])
    if wanted is not None and wanted in names:
        return wanted
    listed = ", ".join(names) or "none"
    if wanted is None:
        raise KdstError(f"{path} has the tables {listed}; choose one: lookup={path}#TABLE")
    raise KdstError(f"{path} has no table {wanted!r}, but {listed}.{did_you_mean(wanted, names)}")


def _quoted(name: str) -> str:
    """Return a name from the database itself as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _found(answer: str | None, asked: str) -> str:
    if not answer:
        raise ValueError(f"no entry for {asked[:40]!r}")
    return answer
