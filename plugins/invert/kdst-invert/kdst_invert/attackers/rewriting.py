"""An attacker who rewrites what was read, word by word, by the words that stand in the same places of texts
that he knows, and keeps what makes the stored vector likelier.

He knows no sentence beforehand: places and words come from known texts and from his own readings. What a word
does to a vector he measures once, in a few texts, so that of many words only the promising are embedded.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_invert.attackers.asking import Asking, together
from kdst_invert.attackers.places import Places, replaced, words
from kdst_invert.defences.defence import unit
from kdst_invert.embedders.batches import embedded

FRONTIER = 3
"""Texts that are followed side by side."""
PROMISING = 24
"""Words of a place that are embedded, of those whose effect promises most."""
ROUNDS = 3
CARRIERS = 2
"""Texts in which the effect of a word is measured."""

Likely = Callable[[Tensor], Tensor]
"""How likely (n,) a stored vector is if texts with such vectors (n, D) were behind it."""


@frozen
class Vocabulary:
    """Places with the effect (D,) of every word that may stand in one: its vectors in the same few texts.
    calls: embedder calls that it took."""

    places: Places
    effects: Mapping[str, Tensor] = field(repr=False)
    calls: int = 0


@frozen
class Rewritten:
    """The likeliest text of a row and the embedder calls that it took."""

    text: str
    calls: int


def measured(places: Places, embed: Embedder) -> Vocabulary:
    """Return places with the effects of their words; asks the embedder some calls a word."""
    effects: dict[str, Tensor] = {}
    calls = 0
    for number, group in enumerate(places.members):
        carriers = _carriers(places, number)
        texts = [replaced(text, i, word) for word in group for text, i in carriers]
        vectors = unit(embedded(embed, texts)).view(len(group), len(carriers), -1)
        effects.update(zip(group, vectors.mean(1), strict=True))
        calls += len(texts)
    return Vocabulary(places, effects, calls)


def _carriers(places: Places, number: int) -> list[tuple[str, int]]:
    """The first places of words of a group in known texts that differ in what stands before them."""
    found: dict[str, tuple[str, int]] = {}
    for text, known in zip(places.texts, places.known, strict=True):
        for i, word in enumerate(known):
            if places.group.get(word) == number:
                found.setdefault(known[i - 1] if i else "", (text, i))
                if len(found) == CARRIERS:
                    return list(found.values())
    return list(found.values())


class Search:
    """The search for one row, from the text that was read of it."""

    def __init__(self, text: str, likely: Likely, vocabulary: Vocabulary) -> None:
        self.text, self.likely, self.vocabulary = text, likely, vocabulary
        self.length = len(words(text))
        self.tried: dict[str, tuple[float, Tensor]] = {}

    def run(self) -> Asking[Rewritten]:
        """Change place after place until nothing is likelier."""
        yield from self._try([self.text])
        frontier, places = [self.text], self.vocabulary.places.of(self.text)
        order = sorted(places, key=lambda i: -len(self._group(places[i])))
        for _ in range(ROUNDS):
            before = frontier
            for place in order:
                texts = [t for text in frontier for t in self._others(text, place, places[place])]
                yield from self._try(texts)
                ranked = sorted(dict.fromkeys([*frontier, *texts]), key=self._score, reverse=True)
                frontier = ranked[:FRONTIER]
            if frontier == before:
                break
        return Rewritten(frontier[0], len(self.tried))

    def _group(self, number: int) -> Sequence[str]:
        """The words of a group."""
        return self.vocabulary.places.members[number]

    def _score(self, text: str) -> float:
        """How likely a text is that was tried."""
        return self.tried[text][0]

    def _others(self, text: str, place: int, group: int) -> list[str]:
        """A text with the words in one place that promise most by their effects."""
        now, effects = words(text)[place], self.vocabulary.effects
        options = [word for word in self._group(group) if word != now]
        if options and now in effects:
            moved = torch.stack([effects[word] for word in options]) - effects[now]
            guessed = self.likely(unit(self.tried[text][1] + moved))
            options = [options[i] for i in guessed.argsort(descending=True)[:PROMISING].tolist()]
        found = [replaced(text, place, word) for word in options]
        return [other for other in found if len(words(other)) == self.length]

    def _try(self, texts: Sequence[str]) -> Asking[None]:
        """Embed texts that are new."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self.tried]
        if fresh:
            vectors = unit((yield fresh).float())
            self.tried.update(
                zip(fresh, zip(self.likely(vectors).tolist(), vectors, strict=True), strict=True)
            )


def rewrite(
    texts: Sequence[str], likely: Sequence[Likely], vocabulary: Vocabulary, embed: Embedder
) -> list[Rewritten]:
    """Return the likeliest rewritings of texts, each by how likely it makes its own stored vector."""
    searches = [Search(t, how, vocabulary).run() for t, how in zip(texts, likely, strict=True)]
    return together(searches, embed)
