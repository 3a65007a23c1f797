"""Texts that are longer than the inverter writes or the embedder reads, counted in their tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdst_core.contracts import Embedder


def too_long(
    texts: Sequence[str], longest: int | None, tokeniser: str | None, embed: Embedder
) -> list[str]:
    """Return a warning each for texts that cannot be written whole, and that were not read whole.

    longest: tokens that the method writes at most. tokeniser: the file of its tokeniser; None for either
    where it is not known.
    """
    found = [_unwritten(texts, longest, tokeniser, embed), _unread(texts, embed)]
    return [said for said in found if said]


def _unwritten(
    texts: Sequence[str], longest: int | None, tokeniser: str | None, embed: Embedder
) -> str:
    """What is said of texts with more tokens than the method writes."""
    if longest is None:
        return ""
    counted, unit = _lengths(texts, tokeniser, embed)
    long = sum(n > longest for n in counted)
    if not long:
        return ""
    return (
        f"{long} of {len(texts)} texts have more {unit} than the {longest} tokens that the"
        " inverter writes, so they cannot be recovered whole"
    )


def _lengths(texts: Sequence[str], tokeniser: str | None, embed: Embedder) -> tuple[list[int], str]:
    """Tokens of each text by the method's tokeniser, else by the embedder's; words where there is none."""
    if tokeniser is not None and Path(tokeniser).is_file():
        from tokenizers import Tokenizer

        counter = Tokenizer.from_file(tokeniser)
        counter.no_truncation()
        counter.no_padding()
        return [len(found.ids) for found in counter.encode_batch(list(texts))], "tokens"
    inner = _encoder(embed)
    if inner is not None:
        return inner.lengths(texts), "of the embedder's tokens"
    return [len(text.split()) for text in texts], "words"


def _unread(texts: Sequence[str], embed: Embedder) -> str:
    """What is said of texts with more tokens than the embedder reads."""
    inner = _encoder(embed)
    if inner is None:
        return ""
    cut = sum(n > inner.longest for n in inner.lengths(texts))
    if not cut:
        return ""
    return (
        f"{cut} of {len(texts)} texts have more tokens than the {inner.longest} that the embedder reads;"
        " what comes after them left no trace in the vectors"
    )


def _encoder(embed: Embedder) -> Any:
    """The encoder with its tokeniser, where the embedder is one."""
    inner = getattr(embed, "inner", embed)
    return inner if hasattr(inner, "lengths") and hasattr(inner, "longest") else None
