"""Words that stand in each other's places, learned from texts of one kind without knowing what they mean.

Two texts that share half of their pieces are laid side by side; words between the same pieces may stand for
each other, and so may what stands for either of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher

from attrs import evolve, field, frozen

from kdst_invert.measures.units import pieces

SHARED = 0.5
"""Share of the pieces that two texts have in common where they are laid side by side."""
NEIGHBOURS = 12
"""Texts at most that each is laid beside; a word that a few do not show, others do."""

Words = Sequence[str]
"""The pieces of a text, without the space behind them."""


@frozen
class Places:
    """What may stand in each place of a text. texts: that were learned from. known: their words. group: of
    each word its number. members: the words of each group, in order."""

    texts: Sequence[str] = field(repr=False)
    known: Sequence[Words] = field(repr=False)
    group: Mapping[str, int] = field(repr=False)
    members: Sequence[Words] = field(repr=False)

    def of(self, text: str) -> dict[int, int]:
        """Return the places of a text whose words may be others, each with the group of those words: the
        one that most texts show there."""
        mine = words(text)
        shown: dict[int, list[int]] = {}
        for other in _close(mine, self.known):
            for i, j in _aligned(mine, other):
                if other[j] in self.group:
                    shown.setdefault(i, []).append(self.group[other[j]])
        return {i: max(sorted(set(g)), key=g.count) for i, g in sorted(shown.items())}


def learn_places(texts: Sequence[str], readings: Sequence[str] = ()) -> Places:
    """Return what texts (n) teach, and the words of readings (m) of other texts where these are like them.

    Readings hold mistakes, so their words join the group of the place that they stand in, and no two groups
    become one by them.
    """
    texts = list(dict.fromkeys(texts))
    known = [words(text) for text in texts]
    root: dict[str, str] = {}
    for n, one in enumerate(known):
        for other in _close(one, known[:n]):
            for i, j in _aligned(one, other):
                root[_top(root, one[i])] = _top(root, other[j])
    gathered: dict[str, list[str]] = {}
    for word in sorted(root):
        gathered.setdefault(_top(root, word), []).append(word)
    members = list(gathered.values())
    places = Places(texts, known, {w: n for n, group in enumerate(members) for w in group}, members)
    return _widened(places, readings)


def _widened(places: Places, readings: Sequence[str]) -> Places:
    """Return places with the words of readings, each in the group that it stands for most often."""
    shown: dict[str, list[int]] = {}
    for text in dict.fromkeys(readings):
        mine = words(text)
        for i, group in places.of(text).items():
            if mine[i] not in places.group:
                shown.setdefault(mine[i], []).append(group)
    new = {word: max(sorted(set(g)), key=g.count) for word, g in sorted(shown.items())}
    members = [
        [*group, *(word for word, number in new.items() if number == n)]
        for n, group in enumerate(places.members)
    ]
    return evolve(places, group={**places.group, **new}, members=members)


def words(text: str) -> list[str]:
    """Return the pieces of a text without the space behind them."""
    return [piece.rstrip() for piece in pieces(text)]


def replaced(text: str, place: int, word: str) -> str:
    """Return a text with another word in a place."""
    parts = pieces(text)
    old = parts[place]
    parts[place] = word + old[len(old.rstrip()) :]
    return "".join(parts)


def _close(mine: Words, others: Sequence[Words]) -> Iterator[Words]:
    """Yield the first texts that share enough pieces with one."""
    own, found = set(mine), 0
    for other in others:
        theirs = set(other)
        if len(own & theirs) >= SHARED * max(len(own), len(theirs)):
            yield other
            found += 1
        if found == NEIGHBOURS:
            return


def _aligned(mine: Words, other: Words) -> Iterator[tuple[int, int]]:
    """Yield places of two texts that stand between the same pieces."""
    for kind, i, i_end, j, j_end in SequenceMatcher(None, mine, other, False).get_opcodes():
        if kind == "replace" and i_end - i == j_end - j:
            yield from zip(range(i, i_end), range(j, j_end), strict=True)


def _top(root: dict[str, str], word: str) -> str:
    """Return the word that stands for a group; a new word stands for itself."""
    while root.setdefault(word, word) != word:
        root[word] = root[root[word]]
        word = root[word]
    return word
