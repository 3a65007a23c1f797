"""The search: change a text by a word so that its embedding comes closer to the one given."""

from collections.abc import Iterator, Sequence

import torch
from attrs import define, frozen
from torch import Tensor

from kdst_bow.lexicon import Lexicon
from kdst_core.contracts import Embedder, Inversion

RARE = 3e-3
"""Least deviation of a word's presence, so that words seen once or twice do not lead every list."""
MOVES = 3
"""Every so many steps, dropping a word and exchanging neighbours are tried too."""
LIFTED = 2 / 3
"""Share of the candidates that are words far likelier than usual; the rest are simply likely."""
LOWEST = -2.0
"""Below every cosine."""
NOTHING = "."
"""Asked where no word reaches the threshold, since many embedders refuse an empty text."""


@frozen
class SearchSettings:
    """How a block is read; the names are those of the options."""

    threshold: float = 0.3
    steps: int = 14
    candidates: int = 24
    gain: float = 0.002
    budget: int | None = None


@define
class Row:
    """One embedding e (D,): its words so far, their embedding and its cosine, and calls spent.

    least: cosine that a change must reach in this step.
    """

    e: Tensor
    scores: Tensor
    words: list[str]
    at: Tensor
    cosine: float = LOWEST
    least: float = LOWEST
    calls: int = 0
    active: bool = True

    @property
    def text(self) -> str:
        """The words as they are asked."""
        return " ".join(self.words) or NOTHING


class Search:
    """The rows of one block; a text is asked for once in it."""

    def __init__(self, lexicon: Lexicon, embed: Embedder, how: SearchSettings) -> None:
        self.lexicon, self.embed, self.how = lexicon, embed, how
        p = lexicon.frequency
        self.spread = (p * (1 - p)).sqrt().clamp(min=RARE)
        self.vectors: dict[str, Tensor] = {}
        self.calls = 0

    def read(self, e: Tensor, rows: range) -> Iterator[Inversion]:
        """Yield the texts behind embeddings (n, D) after each step."""
        found = [
            self._begin(row, scores) for row, scores in zip(e, self.lexicon.scores(e), strict=True)
        ]
        if self.how.budget == 0:
            unknown = torch.full((len(found),), torch.nan)
            yield Inversion(0, [r.text for r in found], unknown, 0, rows, None, True)
            return
        self._ask([(row, [row.words]) for row in found])
        worked = [True] * len(found)
        for step in range(self.how.steps + 1):
            if step:
                worked = [row.active for row in found]
                self._step([row for row in found if row.active], step)
            last = step == self.how.steps or not any(row.active for row in found)
            yield self._shown(step, found, rows, worked, last=last)
            if last:
                return

    def _begin(self, e: Tensor, scores: Tensor) -> Row:
        """A row with the words whose score reaches the threshold, the surest first."""
        order = scores.argsort(descending=True).tolist()
        sure = [self.lexicon.words[i] for i in order if float(scores[i]) > self.how.threshold]
        return Row(e, scores, sure, torch.zeros_like(e))

    def _shown(
        self, step: int, found: Sequence[Row], rows: range, worked: Sequence[bool], *, last: bool
    ) -> Inversion:
        """The texts after a step."""
        cosine = torch.tensor([row.cosine for row in found])
        active = torch.tensor(list(worked))
        return Inversion(step, [row.text for row in found], cosine, self.calls, rows, active, last)

    def _step(self, found: Sequence[Row], step: int) -> None:
        """Try changes of every row, and keep the one that gains most; a row without one stops."""
        before = [row.cosine for row in found]
        for row in found:
            row.least = row.cosine + self.how.gain
        self._ask([(row, self._changes(row, step)) for row in found])
        for row, cosine in zip(found, before, strict=True):
            row.active = row.cosine > cosine

    def _changes(self, row: Row, step: int) -> list[list[str]]:
        """A row's words with one more, and at every third step with one less or two exchanged."""
        kept = row.words
        changes = [[*kept, w] for w in self._candidates(row) if w not in kept]
        if step % MOVES == 0:
            changes += [kept[:i] + kept[i + 1 :] for i in range(len(kept)) if len(kept) > 1]
            changes += [
                [*kept[:i], kept[i + 1], kept[i], *kept[i + 2 :]] for i in range(len(kept) - 1)
            ]
        return changes

    def _candidates(self, row: Row) -> list[str]:
        """Words that the vector and what is left of it both speak for.

        Two rankings, one by score and one by score over the deviation of the word's presence, each the
        mean of that of e and of that of e - φ(words).
        """
        scores, left = row.scores, (row.e - row.at) @ self.lexicon.weights
        lift = (scores - self.lexicon.frequency) / self.spread
        if not row.words:
            left = scores
        many = self.how.candidates
        lifted = _both(lift, left / self.spread).topk(min(int(LIFTED * many) + 1, len(scores)))
        likely = _both(scores, left).topk(min(many, len(scores)))
        order = dict.fromkeys([*lifted.indices.tolist(), *likely.indices.tolist()])
        return [self.lexicon.words[i] for i in [*order][:many]]

    def _ask(self, wanted: Sequence[tuple[Row, list[list[str]]]]) -> None:
        """Embed the texts that are new, as far as each row's budget goes, and keep what gains."""
        tried: list[tuple[Row, list[str], str]] = []
        fresh: dict[str, None] = {}
        for row, changes in wanted:
            for words in changes:
                text = " ".join(words) or NOTHING
                if text not in self.vectors and text not in fresh:
                    if self.how.budget is not None and row.calls >= self.how.budget:
                        continue
                    fresh[text] = None
                    row.calls += 1
                tried.append((row, words, text))
        if fresh:
            vectors = self.embed(list(fresh)).detach().float().cpu()
            self.vectors.update(zip(fresh, vectors, strict=True))
            self.calls += len(fresh)
        for row, words, text in tried:
            self._keep(row, words, self.vectors[text])

    def _keep(self, row: Row, words: list[str], at: Tensor) -> None:
        """Take a change when it is the best of its step so far and gains enough on the step before."""
        cosine = float(torch.cosine_similarity(row.e.double(), at.double(), dim=0))
        if cosine > max(row.cosine, row.least):
            row.words, row.at, row.cosine = words, at, cosine


def _both(whole: Tensor, left: Tensor) -> Tensor:
    """Mean of two scores (V,), each divided by its highest."""
    return whole / whole.amax().clamp(min=1e-9) + left / left.amax().clamp(min=1e-9)
