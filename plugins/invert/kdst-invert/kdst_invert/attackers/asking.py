"""Searches that ask for vectors of texts in between, so that several ask the embedder together."""

from collections.abc import Generator, Sequence
from typing import TypeVar

from torch import Tensor

from kdst_core.contracts import Embedder

T = TypeVar("T")
Asking = Generator[list[str], Tensor, T]
"""Work that asks for the vectors of texts in between."""


def together(searches: Sequence[Asking[T]], embed: Embedder) -> list[T]:
    """Return what each search finds; every one asks at least once."""
    asked = {row: next(search) for row, search in enumerate(searches)}
    found: dict[int, T] = {}
    while asked:
        answers = embed([text for texts in asked.values() for text in texts])
        parts = answers.split([len(texts) for texts in asked.values()])
        rows = zip(list(asked), parts, strict=True)
        asked = {}
        for row, part in rows:
            try:
                asked[row] = searches[row].send(part)
            except StopIteration as done:
                found[row] = done.value
    return [found[row] for row in range(len(searches))]
