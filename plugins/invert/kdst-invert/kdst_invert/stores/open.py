"""The reader of a store, by what lies there."""

from collections.abc import Callable
from pathlib import Path

from kdst_core.errors import KdstError
from kdst_invert.stores.table import Choice, Store

KINDS = (
    "a .npy, .parquet, .jsonl, .csv (pgvector's COPY) or .faiss file, or the folder of a Chroma or"
    " LanceDB store"
)


def open_store(path: Path, choice: Choice) -> Store:
    """Read a store; nothing in it is changed, and nothing is unpickled.

    Raises KdstError in one line when it is none, its library is missing, or what is wanted of it is not
    there.
    """
    if not path.exists():
        raise KdstError(f"there is no store {path}; give {KINDS}")
    return _reader(path)(path, choice)


def _reader(path: Path) -> Callable[[Path, Choice], Store]:
    """What reads a store, by what lies there."""
    from kdst_invert.stores import chroma, faiss, files, lance

    if path.is_dir():
        if (path / "chroma.sqlite3").is_file():
            return chroma.read
        if lance.is_store(path):
            return lance.read
        if (path / "index.faiss").is_file():
            return faiss.read
        if (path / "collection").is_dir() and (path / "meta.json").is_file():
            raise KdstError(
                f"{path} is a local store of qdrant-client, which keeps its points as pickles, and"
                " those are refused.\nWrite its points as JSON lines: id, vector, payload"
            )
        raise KdstError(f"{path} is no store that is known; give {KINDS}")
    suffix = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    readers = {
        "npy": files.npy,
        "parquet": files.parquet,
        "jsonl": files.jsonl,
        "csv": files.csv,
        "faiss": faiss.read,
        "index": faiss.read,
    }
    if suffix not in readers:
        raise KdstError(f"{path} is no store that is known; give {KINDS}")
    return readers[suffix]
