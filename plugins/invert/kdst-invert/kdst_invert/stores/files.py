"""Stores that are one file: arrays, tables, and what databases export."""

import csv as table
import gzip
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from kdst_core.errors import KdstError, first_line
from kdst_invert.files import COLUMNS, read_vectors
from kdst_invert.stores.table import Choice, Columns, Store, store

LARGEST_CELL = 1 << 24
"""Characters of one cell of a .csv file."""


def npy(path: Path, choice: Choice) -> Store:
    """An array (N, D); it holds no texts."""
    vectors, _ = read_vectors(path)
    return store("NumPy", path, {"embedding": list(vectors.numpy())}, choice)


def parquet(path: Path, choice: Choice) -> Store:
    """A table of Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_table(path)
    except (pa.ArrowException, OSError) as e:
        reason = first_line(e)
        raise KdstError(f"cannot read {path} as .parquet: {reason}") from e
    return store("Parquet", path, found.to_pydict(), choice)


def jsonl(path: Path, choice: Choice) -> Store:
    """JSON lines, an object a row; the fields of a `payload` or `metadata` count as columns."""
    rows = []
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as e:
                raise KdstError(f"{path}: line {number} is not JSON") from e
            if not isinstance(row, dict):
                raise KdstError(f"{path}: line {number} is not an object with a vector")
            rows.append(_flat(dict(row)))
    return store("JSON lines", path, _columns(path, rows), choice)


def csv(path: Path, choice: Choice) -> Store:
    """What `COPY … TO … CSV HEADER` of PostgreSQL writes; pgvector's type is `[0.1,0.2,…]`."""
    table.field_size_limit(LARGEST_CELL)
    try:
        with _opened(path) as file:
            reader = table.DictReader(file, strict=True, delimiter=_delimiter(file))
            _check_header(path, reader.fieldnames or ())
            rows = [{k: _cell(v) for k, v in row.items() if k is not None} for row in reader]
    except table.Error as e:
        raise KdstError(f"cannot read {path} as .csv: {e}") from e
    return store("pgvector (CSV)", path, _columns(path, rows), choice)


def _delimiter(file: IO[str]) -> str:
    """Return what parts the cells of a file's header, a comma where nothing does."""
    header = file.readline()
    file.seek(0)
    return max(",;\t", key=header.count)


def _check_header(path: Path, names: Sequence[str]) -> None:
    """Raise KdstError for a first row that is none of names, or that has one twice."""
    if any(isinstance(_cell(name), list) for name in names):
        raise KdstError(
            f"{path} has no header: its first row holds a vector.\nWrite it with CSV HEADER"
        )
    twice = [name for name in names if list(names).count(name) > 1]
    if twice:
        raise KdstError(f"{path} has the column {twice[0]} twice; rename one")


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """A text file, compressed or not; errors of reading become one line."""
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file
    except (OSError, EOFError, UnicodeDecodeError) as e:
        raise KdstError(f"cannot read {path}: {e}") from e


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the fields of its payload, and its vectors where they have names, beside the others;
    those of the row win."""
    inner: dict[str, Any] = {}
    for name in ("payload", "metadata"):
        if isinstance(row.get(name), dict):
            inner |= row[name]
            row = {k: v for k, v in row.items() if k != name}
    for name in COLUMNS["embedding"]:
        if isinstance(row.get(name), dict):
            vectors = row.pop(name)
            alone = len(vectors) == 1
            inner |= {name if alone else f"{name}.{one}": v for one, v in vectors.items()}
    return {**inner, **row}


def _columns(path: Path, rows: list[dict[str, Any]]) -> Columns:
    """Rows as columns; a row that lacks one has None there."""
    if not rows:
        raise KdstError(f"{path} holds no rows")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _cell(value: Any) -> Any:
    """A cell of CSV: a vector where it reads as one, None where it is empty, else text."""
    if isinstance(value, str) and value[:1] == "[" and value[-1:] == "]":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value or None
