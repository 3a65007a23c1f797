"""An attacker without a network who knows the sentences of the notes: he tries what may fill their slots.

He starts from what ridge regression finds likely, and changes one slot at a time to whatever brings the
note's vector closest, several sentences side by side. Searches of several notes ask the embedder
together.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from attrs import evolve, frozen
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_invert.attackers.asking import Asking, together
from kdst_invert.attackers.bag import Bag
from kdst_invert.default.names import FIRST, LAST
from kdst_invert.default.notes import Draw
from kdst_invert.default.words import AGES, DAYS, DRUGS, MONTHS, TEMPLATES
from kdst_invert.measures.units import units

SENTENCES = 2
"""Sentences that are followed side by side."""
NAMES, NUMBERS = 25, 16
"""Names and numbers that are tried of a slot: those whose words move the vector most where it lacks."""
TREATMENTS = 6
"""Pairs of condition and drug that are tried, of those that ridge regression finds likeliest."""
ROUNDS = 4
FOUND = 1 - 1e-4
"""Cosine from which a note is read."""


Options = Callable[[Draw], list[Draw]]
"""What may stand in place of a draw, where one of its slots is filled otherwise."""


@frozen
class Read:
    """The note that came closest, its cosine, and the embedder calls that it took."""

    text: str
    cosine: float
    calls: int


class Search:
    """The search for one note. scores: (V,) how present each word of the bag is."""

    def __init__(self, e: Tensor, scores: Tensor, bag: Bag) -> None:
        self.e = torch.nn.functional.normalize(e.double(), dim=0)
        self.known: dict[str, tuple[float, Tensor]] = {}
        self.scores = dict(zip(bag.words, scores.tolist(), strict=True))
        self.effects = dict(zip(bag.words, bag.effects, strict=True))

    def run(self) -> "Asking[Read]":
        """Change slot after slot until the note is read or nothing comes closer."""
        frontier = yield from self._sentences()
        for _ in range(ROUNDS):
            before, improved = self._best(frontier), []
            for draw in frontier:
                improved.append((yield from self._improved(draw)))
                if self._cosine(improved[-1]) >= FOUND:
                    break
            frontier = improved
            if not before < self._best(frontier) < FOUND:
                break
        best = max(frontier, key=self._cosine)
        return Read(best.note().text, self._cosine(best), len(self.known))

    def _best(self, draws: Sequence[Draw]) -> float:
        """The highest cosine."""
        return max(map(self._cosine, draws))

    def _cosine(self, draw: Draw) -> float:
        """The cosine of a note that was tried."""
        return self.known[draw.note().text][0]

    def _try(self, draws: Sequence[Draw]) -> "Asking[list[Draw]]":
        """The draws by falling cosine; those that are new are embedded."""
        texts = [draw.note().text for draw in draws]
        fresh = [text for text in dict.fromkeys(texts) if text not in self.known]
        if fresh:
            vectors = torch.nn.functional.normalize((yield fresh).double(), dim=1)
            found = zip((vectors @ self.e).tolist(), vectors, strict=True)
            self.known.update(zip(fresh, found, strict=True))
        return sorted(draws, key=self._cosine, reverse=True)

    def _likely(self, text: str) -> float:
        """How likely ridge regression finds the words of a value."""
        found = [self.scores.get(word, 0.0) for word in units(text)]
        return sum(found) / max(len(found), 1)

    def _top(self, values: Sequence[str], most: int) -> list[int]:
        """Places of the likeliest values."""
        order = sorted(range(len(values)), key=lambda i: -self._likely(values[i]))
        return order[:most]

    def _promising(self, draw: Draw, values: Sequence[str], most: int) -> list[int]:
        """Places of the values whose words move the vector most to where the draw's is not yet, and of
        those whose words the attacker has not seen."""
        lack = self.e - self.known[draw.note().text][1]
        none = torch.zeros_like(lack)
        moves = [
            float(lack @ sum((self.effects.get(w, none) for w in units(value)), none))
            for value in values
        ]
        unseen = [i for i, v in enumerate(values) if not all(w in self.effects for w in units(v))]
        best = sorted(range(len(values)), key=lambda i: -moves[i])[:most]
        return list(dict.fromkeys([*best, *unseen]))

    def _treatments(self) -> list[tuple[str, str]]:
        """The likeliest pairs of condition and drug."""
        every = [(condition, drug) for condition, drugs in DRUGS.items() for drug in drugs]
        joined = [f"{condition} {drug}" for condition, drug in every]
        return [every[i] for i in self._top(joined, TREATMENTS)]

    def _sentences(self) -> "Asking[list[Draw]]":
        """The sentences that come closest with the likeliest fillings."""
        condition, drug = self._treatments()[0]
        first, last = self._top(FIRST, 1)[0], self._top(LAST, 1)[0]
        months = self._top(MONTHS, 1)[0]
        start = Draw("", first, last, 50, 14, MONTHS[months], condition, drug)
        found = yield from self._try([evolve(start, template=t) for t in TEMPLATES])
        return found[:SENTENCES]

    def _improved(self, draw: Draw) -> "Asking[Draw]":
        """The draw after each of its slots was filled with what comes closest."""
        for options in self._slots(draw):
            found = yield from self._try([draw, *options(draw)])
            draw = found[0]
            if self._cosine(draw) >= FOUND:
                break
        return draw

    def _numbers(self, draw: Draw, values: Sequence[int]) -> list[int]:
        """Places of the numbers that are tried."""
        return self._promising(draw, [str(n) for n in values], NUMBERS)

    def _slots(self, draw: Draw) -> Iterator[Options]:
        """What may fill each slot of the draw's sentence, and the sentences."""
        pairs = self._treatments()
        yield lambda d: [evolve(d, condition=c, drug=m) for c, m in pairs]
        yield lambda d: [evolve(d, drug=m) for m in DRUGS[d.condition]]
        yield lambda d: [evolve(d, last=i) for i in self._promising(d, LAST, NAMES)]
        yield lambda d: [evolve(d, first=i) for i in self._promising(d, FIRST, NAMES)]
        if "{date}" in draw.template:
            yield lambda d: [evolve(d, month=m) for m in MONTHS]
            yield lambda d: [evolve(d, day=DAYS[i]) for i in self._numbers(d, DAYS)]
        if "{age}" in draw.template:
            yield lambda d: [evolve(d, age=AGES[i]) for i in self._numbers(d, AGES)]
        yield lambda d: [evolve(d, template=t) for t in TEMPLATES]


def search_slots(vectors: Tensor, bag: Bag, embed: Embedder) -> list[Read]:
    """Read vectors (n, D) of notes side by side, so that their guesses are embedded together."""
    scores = bag.scores(vectors)[:, :-1]
    return together(
        [Search(e, row, bag).run() for e, row in zip(vectors, scores, strict=True)], embed
    )
