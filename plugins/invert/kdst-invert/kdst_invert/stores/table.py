"""The rows of a store: which column holds the vectors, which the texts, and which rows are whole."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from kdst_core.errors import KdstError
from kdst_invert.files import COLUMNS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

Columns = Mapping[str, Sequence[Any]]
LONG = 20
"""Median number of characters from which on a column of texts may be the one that was embedded."""
WRITTEN = re.compile(r"\s*\[[-+0-9.eE,\snaifNI]*\]\s*")
"""A vector that was written as a text."""
LOOKED_AT = 200
"""Rows by which the kind of a column is told."""


@frozen
class Choice:
    """What a person said of a store: its collection (or table) and its columns; None is found out."""

    collection: str | None = None
    vector: str | None = None
    text: str | None = None


@frozen
class Store:
    """What lies in a store.

    kind: the library's name. vectors: (N, D) float32. texts: N of them, where they are kept.
    columns: the other columns, name to N values. said: what was left out or chosen.
    """

    kind: str
    vectors: "Array"
    texts: Sequence[str] | None
    columns: Columns = field(factory=dict)
    said: tuple[str, ...] = ()


def store(kind: str, where: Any, columns: Columns, choice: Choice) -> Store:
    """A store from its columns; rows without a vector or without a text are left out and counted."""
    if not any(len(values) for values in columns.values()):
        raise KdstError(f"{where} holds no rows")
    columns = {name: _parsed(values) for name, values in columns.items()}
    vector = _vector_column(where, columns, choice.vector)
    text = _text_column(where, columns, vector, choice.text)
    vectors, bad = _vectors(where, vector, columns[vector])
    texts = None if text is None else columns[text]
    empty = (
        set()
        if texts is None
        else {i for i, t in enumerate(texts) if not isinstance(t, str) or not t.strip()}
    )
    kept = [i for i in range(len(vectors)) if i not in bad and i not in empty]
    if not kept:
        raise KdstError(f"{where} has no row with a vector{'' if text is None else ' and a text'}")
    others = {k: [v[i] for i in kept] for k, v in columns.items() if k not in (vector, text)}
    said = [
        f"{len(rows)} of {len(vectors)} rows have {what} and are left out"
        for rows, what in ((bad, "no finite vector"), (empty - bad, "no text"))
        if rows
    ]
    return Store(
        kind,
        vectors[kept],
        None if texts is None else [texts[i] for i in kept],
        others,
        tuple(said),
    )


def _parsed(values: Sequence[Any]) -> Sequence[Any]:
    """A column whose vectors were written as texts, `[0.1, 0.2]` or `[0.1 0.2]`, as vectors; any other
    column as it is."""
    first = _first(values)
    if not isinstance(first, str) or not _is_vector(_numbers(first)):
        return values
    found = [_numbers(v) if isinstance(v, str) else v for v in values]
    return found if all(v is None or _is_vector(v) for v in found) else values


def _numbers(written: str) -> Any:
    """The list of numbers that a text holds; None where it holds something else."""
    if not WRITTEN.fullmatch(written):
        return None
    try:
        return [float(n) for n in written.strip()[1:-1].replace(",", " ").split()]
    except ValueError:
        return None


def _vector_column(where: Any, columns: Columns, wanted: str | None) -> str:
    """The column of vectors: the one that is named, a usual name, or the only one with numbers."""
    if wanted is not None:
        return _named(where, columns, wanted, "--vector-column")
    found = [name for name, values in columns.items() if _is_vector(_first(values))]
    usual = [name for name in COLUMNS["embedding"] if name in found]
    if len(usual) == 1:
        return usual[0]
    if len(found) == 1:
        return found[0]
    what = f"several columns of vectors: {', '.join(found)}" if found else "no column of vectors"
    raise KdstError(
        f"{where} has {what}; its columns are {', '.join(columns)}.\n--vector-column names one"
    )


def _text_column(where: Any, columns: Columns, vector: str, wanted: str | None) -> str | None:
    """The column of texts, None where there is none; KdstError where it cannot be told."""
    if wanted is not None:
        return _named(where, columns, wanted, "--text-column")
    usual = [n for n in COLUMNS["text"] if n in columns and isinstance(_first(columns[n]), str)]
    if usual:
        return usual[0]
    found = [n for n, v in columns.items() if n != vector and _typical_length(v) >= LONG]
    if len(found) > 1:
        raise KdstError(
            f"{where}: {', '.join(found)} may each be the text that was embedded.\n--text-column names it"
        )
    return found[0] if found else None


def _named(where: Any, columns: Columns, name: str, flag: str) -> str:
    """A column that was named; KdstError when there is none."""
    if name not in columns:
        raise KdstError(f"{flag} {name}: {where} has the columns {', '.join(columns)}")
    return name


def _first(values: Sequence[Any]) -> Any:
    """The first value that is there."""
    return next((v for v in values if v is not None), None)


def _is_vector(value: Any) -> bool:
    """Whether a value is a list of at least two numbers."""
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__len__") or len(value) < 2:
        return False
    return all(isinstance(v, int | float) or hasattr(v, "dtype") for v in list(value)[:8])


def _typical_length(values: Sequence[Any]) -> int:
    """Median number of characters; 0 for a column that is not of texts."""
    seen = [v for v in values[:LOOKED_AT] if v is not None]
    if not seen or not all(isinstance(v, str) for v in seen):
        return 0
    return sorted(len(v) for v in seen)[len(seen) // 2]


def _vectors(where: Any, name: str, values: Sequence[Any]) -> "tuple[Array, set[int]]":
    """Vectors (N, D), and the rows that have none or one that is not finite or zero."""
    import numpy as np

    lengths = {len(v) for v in values if _is_vector(v)}
    if len(lengths) != 1:
        what = f"vectors of {len(lengths)} lengths" if lengths else "no vectors"
        raise KdstError(f"{where}: the column {name} holds {what}")
    found = np.zeros((len(values), lengths.pop()), dtype=np.float32)
    for row, value in enumerate(values):
        if _is_vector(value):
            try:
                found[row] = value
            except (TypeError, ValueError) as e:
                raise KdstError(f"{where}: row {row} of {name} is not a list of numbers") from e
    good = np.isfinite(found).all(1) & (found != 0).any(1)
    return found, {int(i) for i in np.flatnonzero(~good)}
