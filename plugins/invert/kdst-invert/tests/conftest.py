"""Tests of the bench never load the real embedder unless they are about it."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from kdst_core.contracts import Inversion, InvertRequest

D = 32


class HashEmbedder:
    """Texts to unit vectors that depend on every word; counts what it is asked."""

    name = "hash"
    dimension = D
    normalised = True

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        rows = [self._vector(text) for text in texts]
        return torch.stack(rows) if rows else torch.empty(0, D)

    def _vector(self, text: str) -> Tensor:
        total = torch.zeros(D)
        for place, word in enumerate(text.split()):
            seed = int.from_bytes(hashlib.sha256(f"{word}/{place}".encode()).digest()[:4])
            total += torch.randn(D, generator=torch.Generator().manual_seed(seed))
        return torch.nn.functional.normalize(total, dim=0)


class Oracle:
    """A stand-in for a method: it knows the texts and reveals one more word of each at every step."""

    def __init__(self, texts: Sequence[str], fail_at: int | None = None) -> None:
        self.texts, self.fail_at = list(texts), fail_at

    def invert(self, request: InvertRequest) -> Iterator[Inversion]:
        blocks = request.blocks or [range(len(request.embeddings))]
        for rows in blocks:
            for step in range(3):
                if self.fail_at is not None and rows.start >= self.fail_at and step == 1:
                    raise KeyboardInterrupt
                shown = [self._shown(i, step) for i in rows]
                cosine = torch.full((len(rows),), 0.5 + step / 4)
                active = torch.tensor([step == 0 or len(self.texts[i]) > 12 for i in rows])
                yield Inversion(step, shown, cosine, step + 1, rows, active, step == 2, 32)

    def _shown(self, row: int, step: int) -> str:
        words = self.texts[row].split()
        return " ".join(words[: step + 1] if step < 2 else words)


@pytest.fixture
def hash_embedder() -> Any:
    """An embedder that is fast and depends on every word."""
    return HashEmbedder()


@pytest.fixture
def oracle() -> Any:
    """A stand-in for a method, made from the texts it reveals."""
    return Oracle
