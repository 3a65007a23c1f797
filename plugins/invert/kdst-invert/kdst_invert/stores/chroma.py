"""Chroma's persistent stores, through its own client."""

from pathlib import Path
from typing import Any

from kdst_core.errors import KdstError, first_line
from kdst_invert.stores.library import chosen, copied, library
from kdst_invert.stores.table import Choice, Store, store

PAGE = 1000


def read(path: Path, choice: Choice) -> Store:
    """A collection with its documents and metadata; a copy of the folder is opened."""
    chromadb = library("chromadb", "chromadb", "chroma")
    with copied(path) as copy:
        try:
            settings = chromadb.Settings(anonymized_telemetry=False)
            client = chromadb.PersistentClient(str(copy), settings=settings)
            names = sorted(c if isinstance(c, str) else c.name for c in client.list_collections())
            name = chosen(path, names, choice.collection)
            columns = _columns(client.get_collection(name, embedding_function=None))
        except KdstError:
            raise
        except Exception as e:
            reason = first_line(e)
            raise KdstError(f"Chroma cannot read {path}: {reason}") from e
    return store("Chroma", f"{path}, collection {name}", columns, choice)


def _columns(collection: Any) -> dict[str, list[Any]]:
    """Vectors, documents and every key of the metadata, in pages."""
    rows: list[dict[str, Any]] = []
    for start in range(0, collection.count(), PAGE):
        page = collection.get(
            limit=PAGE, offset=start, include=["embeddings", "documents", "metadatas"]
        )
        for vector, text, data in zip(
            page["embeddings"], page["documents"], page["metadatas"], strict=True
        ):
            rows.append({**(data or {}), "embedding": vector, "document": text})
    names = dict.fromkeys(["embedding", "document", *(name for row in rows for name in row)])
    return {name: [row.get(name) for row in rows] for name in names}
