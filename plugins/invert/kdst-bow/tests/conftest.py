"""An embedder that adds a vector for every word, so that what a search finds is known."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

WORDS = ("anna", "cough", "fever", "iron", "max", "night", "old", "pain", "sleep", "tea")


class Sums:
    """The sum of the vectors of the words, of length 1; words that are not known count as nothing."""

    name = "sums"
    normalised = True

    def __init__(self, dimension: int = 48, seed: int = 0) -> None:
        self.dimension = dimension
        generator = torch.Generator().manual_seed(seed)
        self.words = torch.randn(len(WORDS), dimension, generator=generator)
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(n, D)."""
        self.asked += texts
        return torch.nn.functional.normalize(torch.stack([self.one(t) for t in texts]), dim=-1)

    def one(self, text: str) -> Tensor:
        """The vector of one text before it is divided by its length."""
        found = [self.words[WORDS.index(w)] for w in text.split() if w in WORDS]
        return torch.stack(found).sum(0) if found else torch.ones(self.dimension)


def sentences(count: int, length: int = 4, seed: int = 0) -> list[str]:
    """Texts of different words."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(WORDS), generator=generator)[:length] for _ in range(count)]
    return [" ".join(WORDS[i] for i in order.tolist()) for order in orders]


@pytest.fixture
def embed() -> Sums:
    """An embedder of sums."""
    return Sums()


@pytest.fixture(scope="session")
def toy() -> Any:
    """The class of the embedder, and a function that makes texts for it."""
    return SimpleNamespace(Sums=Sums, sentences=sentences)
