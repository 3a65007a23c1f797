"""LanceDB's stores, through its own client."""

from pathlib import Path

from kdst_core.errors import KdstError, first_line
from kdst_invert.stores.library import chosen, library
from kdst_invert.stores.table import Choice, Store, store

SUFFIX = ".lance"


def is_store(path: Path) -> bool:
    """Whether a folder is a table of Lance, or holds some."""
    return path.suffix == SUFFIX or any(p.is_dir() for p in path.glob("*" + SUFFIX))


def read(path: Path, choice: Choice) -> Store:
    """A table; reading changes nothing."""
    lancedb = library("lancedb", "lancedb", "lancedb")
    table = path.suffix == SUFFIX
    folder = path.parent if table else path
    names = [path.stem] if table else sorted(p.stem for p in path.glob("*" + SUFFIX))
    name = chosen(path, names, choice.collection)
    try:
        columns = lancedb.connect(str(folder)).open_table(name).to_arrow().to_pydict()
    except Exception as e:
        reason = first_line(e)
        raise KdstError(f"LanceDB cannot read {path}: {reason[:160]}") from e
    return store("LanceDB", f"{path}, table {name}", columns, choice)
