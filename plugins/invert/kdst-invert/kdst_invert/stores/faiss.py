"""Indexes of FAISS, which keep vectors and no texts."""

from pathlib import Path

from kdst_core.errors import KdstError
from kdst_invert.stores.library import library
from kdst_invert.stores.table import Choice, Store, store

ADDED = "the index has ids of its own; its rows are taken in the order in which they were added"


def read(path: Path, choice: Choice) -> Store:
    """An index file, or a folder with `index.faiss` in it; a pickle beside it is not read."""
    faiss = library("faiss", "faiss-cpu", "faiss")
    file = path / "index.faiss" if path.is_dir() else path
    try:
        whole = faiss.read_index(str(file))
    except RuntimeError as e:
        reason = (str(e).splitlines() or [""])[-1]
        raise KdstError(f"cannot read {file} as an index of FAISS: {reason[:120]}") from e
    ids = isinstance(whole, faiss.IndexIDMap)
    index = faiss.downcast_index(whole.index) if ids else whole
    try:
        if hasattr(faiss, "extract_index_ivf") and faiss.try_extract_index_ivf(index) is not None:
            faiss.extract_index_ivf(index).make_direct_map()
        vectors = index.reconstruct_n(0, index.ntotal)
    except RuntimeError as e:
        raise KdstError(
            f"{file}: this kind of index ({type(index).__name__}) gives no vectors back"
        ) from e
    found = store("FAISS", file, {"embedding": list(vectors)}, choice)
    name = type(index).__name__
    said = f"{name} may keep its vectors compressed; what it gives back is audited"
    exact = "Flat" in name and "PQ" not in name
    notes = [*found.said, *([] if exact else [said]), *([ADDED] if ids else [])]
    return Store(found.kind, found.vectors, None, {}, tuple(notes))
