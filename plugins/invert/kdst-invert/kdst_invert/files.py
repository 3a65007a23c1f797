"""Files of texts and of vectors, as people have them."""

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdst_core.errors import KdstError, first_line
from kdst_invert.texts import Originals

if TYPE_CHECKING:
    from torch import Tensor

TEXT_COLUMNS = (
    "text",
    "texts",
    "document",
    "documents",
    "content",
    "page_content",
    "chunk",
    "sentence",
)
"""Names under which exports of vector stores keep the texts."""
COLUMNS = {"embedding": ("embedding", "embeddings", "vector", "vectors"), "text": TEXT_COLUMNS}
OTHER_KINDS = (
    *(
        ".csv",
        ".tsv",
        ".json",
        ".parquet",
        ".npy",
        ".gz",
        ".zip",
        ".xlsx",
        ".docx",
        ".pdf",
        ".html",
    ),
)
"""Endings of files that hold texts in another way than a line each."""
SEVERAL, LOOKED_AT = 4, 200
"""Words of a value, and rows by which a column of texts without a usual name is told."""


def read_texts(path: Path) -> Originals:
    """Read a text a line from .txt, or `text` and optional `fields` a line from .jsonl.

    Raises KdstError for another kind of file, a file without texts, a text in which nothing can be seen,
    or a line that is not what it must be.
    """
    kind = path.suffix.lower()
    if kind in OTHER_KINDS:
        raise KdstError(
            f"--texts takes a text a line (.txt) or JSON lines (.jsonl), not {kind}: {path}"
        )
    try:
        lines = _lines(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as e:
        raise KdstError(
            f"cannot read the texts {path}, which is not UTF-8: {e}.\nSave it as UTF-8"
        ) from e
    except OSError as e:
        raise KdstError(f"cannot read the texts {path}: {e}") from e
    if kind == ".jsonl":
        rows = [_row(path, n, line) for n, line in enumerate(lines, 1)]
        texts, fields = [t for t, _ in rows], [f for _, f in rows]
    else:
        texts, fields = lines, []
    empty = [n for n, text in enumerate(texts, 1) if not is_visible(text)]
    if empty:
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise KdstError(f"{path}: line {empty[0]}{more} holds no text; remove such lines")
    if not texts:
        raise KdstError(f"{path} holds no texts; give one a line")
    return Originals(texts, fields if any(fields) else ())


def _lines(content: str) -> list[str]:
    """Lines that end with a newline; other separators of Unicode may stand inside a text."""
    lines = content.split("\n")  # reading has turned \r\n and \r into \n
    return lines[:-1] if lines[-1] == "" else lines


def is_visible(text: str) -> bool:
    """Return whether a text has a character that is seen: no space, control or zero width."""
    return any(unicodedata.category(c)[0] not in "ZC" for c in text)


def _row(path: Path, number: int, line: str) -> tuple[str, Mapping[str, str]]:
    """Text and fields of one line of JSON."""
    try:
        found = json.loads(line)
        text, fields = found["text"], found.get("fields") or {}
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise KdstError(f'{path}: line {number} is not {{"text": …, "fields": {{…}}}}') from e
    odd = [k for k, v in found.items() if k not in ("text", "fields") and isinstance(v, dict)]
    if odd:
        raise KdstError(f"{path}: line {number}: named values go under fields, not under {odd[0]}")
    if not isinstance(text, str) or not isinstance(fields, dict):
        raise KdstError(f"{path}: line {number}: text must be a text, fields an object of texts")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise KdstError(
            f"{path}: line {number}: the text holds half a character (a lone surrogate)"
        )
    wrong = [k for k, v in fields.items() if not isinstance(v, str | int | float | None)]
    if wrong:
        raise KdstError(f"{path}: line {number}: the field {wrong[0]} must be a text or a number")
    return text, {str(k): str(v) for k, v in fields.items() if v is not None}


def read_vectors(path: Path) -> "tuple[Tensor, Originals | None]":
    """Read vectors (N, D) from .npy, which stays on disk, or .parquet, which may hold texts too.

    Nothing is unpickled. Raises KdstError that says what is wrong with the file.
    """
    if not path.is_file():
        raise KdstError(f"there is no file {path}; --embeddings takes a .npy or .parquet file")
    if path.suffix.lower() == ".npy":
        return _npy(path), None
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    raise KdstError(f"--embeddings takes .npy or .parquet, not {path.suffix or path.name!r}")


def _npy(path: Path) -> "Tensor":
    """Vectors of a .npy file."""
    import numpy as np
    import torch

    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as e:
        if "Object arrays" in str(e) or "allow_pickle" in str(e) or "Python objects" in str(e):
            raise KdstError(
                f"{path} holds Python objects, which would have to be unpickled and is refused.\n"
                "Save a float array (N, D): np.save(path, np.stack(vectors).astype('float32'))"
            ) from e
        raise KdstError(f"cannot read {path} as .npy: {first_line(e)}") from e
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f" or found.ndim != 2:
        what = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else "no array"
        raise KdstError(f"{path} holds {what}; give floats of shape (N, D)")
    if found.dtype != np.float32:
        with np.errstate(
            over="ignore"
        ):  # what is too large becomes infinite, and is refused as such
            return torch.from_numpy(np.asarray(found, dtype=np.float32))
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the map is read-only, and is only read
        return torch.from_numpy(found)


def _parquet(path: Path) -> "tuple[Tensor, Originals | None]":
    """Vectors, and texts where there is a column of them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as e:
        reason = first_line(e)
        raise KdstError(f"cannot read {path} as .parquet: {reason}") from e
    names = {kind: [n for n in known if n in table.column_names] for kind, known in COLUMNS.items()}
    if not names["embedding"]:
        raise KdstError(
            f"{path} has no column {' or '.join(COLUMNS['embedding'])};"
            f" its columns are {', '.join(table.column_names)}"
        )
    listed = [n for n in names["embedding"] if pa.types.is_nested(table.schema.field(n).type)]
    if len(listed) > 1:
        raise KdstError(
            f"{path} has the columns {', '.join(listed)}; keep the one with the vectors"
        )
    column = table.column((listed or names["embedding"])[0])
    try:
        found = np.stack(column.to_numpy()).astype(np.float32)
    except (ValueError, TypeError) as e:
        raise KdstError(f"{path}: the vectors are not lists of numbers of one length") from e
    named = names["text"] or _prose(path, table)
    texts = table.column(named[0]).to_pylist() if named else None
    if texts is not None and not all(isinstance(t, str) and t.strip() for t in texts):
        raise KdstError(f"{path}: a text is empty or missing")
    return torch.from_numpy(found), None if texts is None else Originals(texts)


def _prose(path: Path, table: Any) -> list[str]:
    """The column of texts where none has a usual name: the only one whose values are mostly of several
    words; KdstError where there are more."""
    found = []
    for name in table.column_names:
        seen = table.column(name).slice(0, LOOKED_AT).to_pylist()
        prose = sum(isinstance(v, str) and len(v.split()) >= SEVERAL for v in seen)
        found += [name] if 2 * prose > len(seen) else []
    if len(found) > 1:
        raise KdstError(
            f"{path}: {' and '.join(found)} may each be the texts of the vectors; name the right one text"
        )
    return found
