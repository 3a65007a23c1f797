"""An attacker without a network: ridge regression from vectors to the words of a text, in no order."""

from collections.abc import Sequence

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_invert.measures.units import units

PENALTY = 0.01
"""Of the ridge, relative to the mean eigenvalue of the vectors' products."""
LIGHT = 0.1
"""Of the ridge from words to vectors, relative to the mean square of a row."""
RARE = 1
"""Texts that a word must stand in to be learned."""


@frozen
class Bag:
    """Words that are known, where each stands on average (0 to 1), and the map to their presence.

    weights: (D + 1, V + 1), the last row a constant and the last column the number of words. effects:
    (V, D), by how much a word moves the vector of a text.
    """

    words: Sequence[str]
    places: Tensor = field(repr=False)
    weights: Tensor = field(repr=False)
    effects: Tensor = field(repr=False)

    def scores(self, vectors: Tensor) -> Tensor:
        """How present each word is (n, V + 1), with the number of words last."""
        return with_one(vectors) @ self.weights

    def read(self, vectors: Tensor) -> list[list[str]]:
        """The likeliest words of each vector (n, D), as many as it seems to have, in their usual order."""
        scores = self.scores(vectors)
        counts = scores[:, -1].round().long().clamp(1, len(self.words)).tolist()
        found = []
        for row, count in zip(scores[:, :-1], counts, strict=True):
            chosen = row.topk(count).indices
            order = self.places[chosen].argsort()
            found.append([self.words[i] for i in chosen[order].tolist()])
        return found


def learn_bag(texts: Sequence[str], vectors: Tensor) -> Bag:
    """Learn from texts and their vectors (n, D)."""
    bags = [units(text) for text in texts]
    held: dict[str, int] = {}
    for bag in bags:
        for word in set(bag):
            held[word] = held.get(word, 0) + 1
    words = [word for word, count in held.items() if count >= RARE]
    place = {word: i for i, word in enumerate(words)}
    present, where = torch.zeros(len(texts), len(words) + 1), torch.zeros(len(words))
    for row, bag in enumerate(bags):
        present[row, -1] = len(bag)
        for position, word in enumerate(bag):
            if word in place:
                present[row, place[word]] = 1
                where[place[word]] += position / len(bag) / held[word]
    present, e = present.double(), vectors.double()
    return Bag(words, where, _ridge(with_one(e), present), _effects(present[:, :-1], e))


def _effects(present: Tensor, e: Tensor) -> Tensor:
    """Ridge regression from words (n, V) to vectors (n, D), both without their mean."""
    x = present - present.mean(0)
    products = x @ x.T
    products.diagonal().add_(LIGHT * float(products.diagonal().mean()))
    return x.T @ torch.linalg.solve(products, e - e.mean(0))


def _ridge(x: Tensor, y: Tensor) -> Tensor:
    """Weights (D + 1, V) of ridge regression; the constant is not held back."""
    products = x.T @ x
    held_back = torch.full((len(products),), PENALTY * float(products.diagonal()[:-1].mean()))
    held_back[-1] = 0
    return torch.linalg.solve(products + torch.diag(held_back.double()), x.T @ y)


def with_one(vectors: Tensor) -> Tensor:
    """Vectors (n, D) in double precision with a constant."""
    return torch.nn.functional.pad(vectors.double(), (0, 1), value=1.0)
