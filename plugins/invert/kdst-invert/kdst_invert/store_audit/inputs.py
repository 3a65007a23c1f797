"""The options of an audit: which store, what is known of it, and what is tried."""

from pathlib import Path

from attrs import frozen

from kdst_core.options import option


@frozen
class AuditInputs:
    """A store, its columns, and how far the audit goes."""

    data: Path | None = option(
        None,
        "The store: the folder of a Chroma or LanceDB store, or a .npy, .parquet, .jsonl, .csv"
        " (pgvector) or .faiss file. STORE may stand for it without the flag.",
    )
    texts: Path | None = option(
        None, "Texts of a store that holds none, in the order of its rows: .txt or .jsonl."
    )
    collection: str | None = option(None, "Collection or table, where the store holds several.")
    vector_column: str | None = option(None, "Column of the vectors. Default: found out.")
    text_column: str | None = option(
        None, "Column of the texts that were embedded. Default: found out."
    )
    embedder: str = option(
        "minilm",
        "Embedders that may have made the vectors, with commas between them: minilm, a directory or"
        " hub id of an encoder, st:NAME, module:function. Each is tried on sampled texts.",
    )
    known: list[int] = option(
        [0, 10, 100, 1000], "Numbers of texts of the store that an attacker knows.", min=0
    )
    count: int = option(50, "Texts that are attacked, drawn from the store.", min=10)
    batch_texts: int = option(64, "Texts between two saved states.", min=1)
    show_texts: bool = option(
        False, "Show texts in the report. Default: which words were read, as squares."
    )
    personal: bool = option(
        True, "Look for personal data in the texts, where presidio-analyzer is installed."
    )
