"""The inversion of one block: hypothesise, embed, correct, and keep the best seen (section 3.3).

Every step corrects the b best hypotheses of a row that were not corrected before. Decoding has no
chance in it, so that correcting one again, as the published recursion does, brings nothing new. And
corrections of like hypotheses are mostly the same few texts, so where rows may stop, a step corrects
b / 4 hypotheses with a beam of 2b, and after a step that brought the row no closer, one with a beam of
b²: half of the published candidates, then all of them, but each of them another text.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from attrs import define, field, frozen
from torch import Tensor

from kdst_core.contracts import Embedder, Inversion
from kdst_vec2text.decoder import Decoder
from kdst_vec2text.models import Inverter
from kdst_vec2text.pair import Vec2Text
from kdst_vec2text.search import beam_search
from kdst_vec2text.tokens import padded

Item = TypeVar("Item")
View = Callable[[Tensor], Tensor]
FOUND = 1 - 1e-6
"""Cosine from which a text counts as found: what is left is the rounding of the embedder."""

LOWEST = -2.0
"""Below every cosine."""
NOTHING = "."
"""Tried where the networks write nothing at all, which many embedders refuse."""


@frozen
class InversionSettings:
    """How a block is inverted; the names are those of the options."""

    steps: int = 20
    beam: int = 4
    batch: int = 32
    patience: int = 4
    budget: int | None = None
    max_tokens: int | None = None


@define
class Row:
    """One embedding: every text tried with its cosine, and the beam each was corrected with."""

    e: Tensor
    tried: dict[str, float] = field(factory=dict)
    corrected: dict[str, int] = field(factory=dict)
    best: str = ""
    cosine: float = LOWEST
    since: int = 0
    calls: int = 0
    active: bool = True

    def add(self, text: str, cosine: float) -> None:
        """Note a text that was tried."""
        self.tried[text] = cosine
        if cosine > self.cosine:
            self.best, self.cosine = text, cosine

    def frontier(self, count: int, width: int) -> list[str]:
        """The best texts that were not corrected with such a beam yet, at most `count`."""
        left = [t for t in self.tried if self.corrected.get(t, 0) < width]
        return sorted(left, key=lambda t: -self.tried[t])[:count]


Work = tuple[Row, str, int]
"""A row, a hypothesis of it to correct, and with what beam."""


class Block:
    """The rows of one block, and the embeddings asked for so far, each once."""

    def __init__(
        self,
        model: Vec2Text,
        embed: Embedder,
        settings: InversionSettings,
        view: View | None = None,
    ) -> None:
        self.model, self.embed, self.settings, self.view = model, embed, settings, view
        self.max_tokens = settings.max_tokens or model.config.max_seq_length
        self.decoders: dict[int, Decoder] = {}
        self.vectors: dict[str, Tensor] = {}
        self.calls = 0

    def invert(self, e: Tensor) -> Iterator[tuple[list[Row], int, bool]]:
        """Yield the rows of embeddings (n, D) after each step, its number, and whether it is last."""
        self.rows = [Row(row) for row in e.detach().float().clone()]
        if self.settings.budget == 0:
            self._guess()
            yield self.rows, 0, True
            return
        self._try(self.rows, self._hypotheses())
        corrections = 0 if self.model.corrector is None else self.settings.steps
        for step in range(corrections):
            self._stop_found()
            work = [step for row in self.rows for step in self._to_correct(row)]
            yield self.rows, step, not work
            if not work:
                return
            before = [row.cosine for row in self.rows]
            for row, text, width in work:
                row.corrected[text] = width
            self._try([row for row, _, _ in work], self._corrections(work))
            self._count(before)
        yield self.rows, corrections, True

    def _guess(self) -> None:
        """Take the likeliest first hypothesis of every row, of which no cosine is known."""
        for row, texts in zip(self.rows, self._hypotheses(), strict=True):
            row.best, row.cosine = texts[0], math.nan

    def _to_correct(self, row: Row) -> list[Work]:
        """What the next step corrects of a row; without any, or without calls left, it stops."""
        spent = self.settings.budget is not None and row.calls >= self.settings.budget
        count, width = self._split(row)
        frontier = row.frontier(count, width) if row.active and not spent else []
        row.active = bool(frontier)
        return [(row, text, width) for text in frontier]

    def _split(self, row: Row) -> tuple[int, int]:
        """Hypotheses that a step corrects of a row, and the beam of each: b and b where it never stops."""
        beam = self.settings.beam
        if not self.settings.patience:
            return beam, beam
        return (1, beam**2) if row.since else (max(1, beam // 4), min(2 * beam, beam**2))

    def _stop_found(self) -> None:
        """Stop rows whose text is found, when rows may stop at all."""
        for row in self.rows:
            if self.settings.patience and row.cosine >= FOUND:
                row.active = False

    def _count(self, before: Sequence[float]) -> None:
        """Stop rows that did not come closer for `patience` steps."""
        for row, cosine in zip(self.rows, before, strict=True):
            row.since = 0 if row.cosine > cosine else row.since + 1
            if self.settings.patience and row.since >= self.settings.patience:
                row.active = False

    def _try(self, rows: Sequence[Row], candidates: Sequence[Sequence[str]]) -> None:
        """Embed the candidates that a row has not tried, each text of the block once."""
        fresh: list[tuple[Row, str]] = []
        wanted: dict[str, None] = {}
        for row, texts in zip(rows, candidates, strict=True):
            for text in texts:
                if text in row.tried or not self._affordable(row, text, wanted):
                    continue
                row.tried[text] = LOWEST
                fresh.append((row, text))
        if wanted:
            vectors = self.embed(list(wanted)).detach().float().cpu()
            vectors = vectors if self.view is None else self.view(vectors)
            self.vectors.update(zip(wanted, vectors, strict=True))
            self.calls += len(wanted)
        if fresh:
            left = torch.stack([row.e for row, _ in fresh]).double()
            right = torch.stack([self.vectors[text] for _, text in fresh]).double()
            cosines = torch.cosine_similarity(left, right, dim=-1).tolist()
            for (row, text), cosine in zip(fresh, cosines, strict=True):
                row.add(text, cosine)

    def _affordable(self, row: Row, text: str, wanted: dict[str, None]) -> bool:
        """Whether a row may try a text: its embedding is there, or the budget allows to ask for it."""
        if text in self.vectors or text in wanted:
            return True
        if self.settings.budget is not None and row.calls >= self.settings.budget:
            return False
        row.calls += 1
        wanted[text] = None
        return True

    def _hypotheses(self) -> list[list[str]]:
        """The b likeliest first texts of every row."""
        found: list[list[str]] = []
        network = self.model.hypothesiser
        for rows in _cut(self.rows, self.settings.batch):
            e = torch.stack([row.e for row in rows]).to(_place(network))
            found += self._decode(network, network.inputs(e), self.settings.beam)
        return found

    def _corrections(self, work: Sequence[Work]) -> list[list[str]]:
        """The likeliest corrections of every hypothesis, decoded in batches of one beam."""
        ids = self.model.tokens.ids([text for _, text, _ in work], self.max_tokens)
        found: list[list[str]] = [[] for _ in work]
        for width in sorted({width for _, _, width in work}):
            places = [i for i, (_, _, own) in enumerate(work) if own == width]
            places.sort(key=lambda i: len(ids[i]))
            size = max(1, self.settings.batch * self.settings.beam // width)
            for part in _cut(places, size):
                texts = self._corrected([work[i] for i in part], [ids[i] for i in part], width)
                for i, candidates in zip(part, texts, strict=True):
                    found[i] = candidates
        return found

    def _corrected(
        self, work: Sequence[Work], ids: Sequence[Sequence[int]], width: int
    ) -> list[list[str]]:
        """The `width` likeliest corrections of hypotheses with token ids."""
        network = self.model.corrector
        assert network is not None
        e = torch.stack([row.e for row, _, _ in work]).to(_place(network))
        e_hat = torch.stack([self.vectors[text] for _, text, _ in work]).to(e)
        return self._decode(network, network.inputs(e, e_hat, padded(ids).to(e.device)), width)

    def _decode(
        self, network: Inverter, inputs: tuple[Tensor, Tensor], width: int
    ) -> list[list[str]]:
        """The `width` likeliest texts of each encoder input."""
        decoder = self.decoders.setdefault(id(network), Decoder(network.encoder_decoder))
        found = beam_search(network, decoder, inputs, width, self.max_tokens)
        flat = self.model.tokens.texts(ids for row in found.ids for ids in row)
        return [[t for t in row if t] or [NOTHING] for row in _cut(flat, width)]


def invert_block(
    model: Vec2Text,
    embed: Embedder,
    e: Tensor,
    settings: InversionSettings,
    rows: range | None = None,
    notes: Sequence[str] = (),
    view: View | None = None,
) -> Iterator[Inversion]:
    """Yield what is known of embeddings (n, D) after each step, from the first hypothesis on.

    view: what vectors of hypotheses go through before they are compared with the embeddings.
    """
    block = Block(model, embed, settings, view)
    before = torch.ones(len(e), dtype=torch.bool)
    with torch.inference_mode():
        for found, step, last in block.invert(e):
            yield Inversion(
                step,
                [row.best for row in found],
                torch.tensor([row.cosine for row in found]),
                block.calls,
                rows=range(len(e)) if rows is None else rows,
                active=before,
                last=last,
                longest=block.max_tokens,
                notes=tuple(notes),
                tokeniser=model.tokens.file,
            )
            before = torch.tensor([row.active for row in found])


def _cut(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """Cut a sequence into lists of `size`."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _place(network: Inverter) -> Tensor:
    """A tensor that says on which device and in which precision a network computes."""
    return next(network.parameters()).detach()
