"""Sampling on from many places of texts that were read once.

Samples at one text share its memory, and those at one place share what they have written alike: a
crowd of samples is one reading until they draw different tokens.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

import torch
from attrs import frozen, mutable
from torch import Tensor, nn
from transformers.cache_utils import Cache

from kdst_toolformer.reading.draws import pick_from
from kdst_toolformer.reading.forward import MAX_LOGITS, CausalModel
from kdst_toolformer.reading.memory import Memory, RoomyLayer

GROUP = 20
"""Samples that share one copy of a text's memory; each also passes over what the others wrote. Of a
heavy model all of a text share one: copies of its keys and values cost it more than the others do."""


@frozen
class Start:
    """A sample to draw behind the first `length` tokens of a memory's row. u: (most,) in [0, 1)."""

    row: int
    length: int
    u: Tensor


class Completion:
    """Samples after a token until `ended(written)`, or as many tokens as there are numbers u."""

    def __init__(
        self,
        model: CausalModel,
        first: int,
        ended: Callable[[Sequence[int]], bool],
        temperature: float,
        budget: int,
    ) -> None:
        self.model, self.first, self.ended = model, first, ended
        self.temperature, self.budget = temperature, model.most(budget)
        self.given = budget

    def __call__(self, memory: Memory, starts: Sequence[Start]) -> list[list[int]]:
        """Return the tokens that each start is followed by."""
        written: list[list[int]] = [[] for _ in starts]
        for groups in self._batches(memory, starts):
            self._complete(memory, starts, groups, written)
        return written

    def _batches(self, memory: Memory, starts: Sequence[Start]) -> Iterator[list[list[int]]]:
        """Starts in groups of one row each, as many groups at a time as memory should hold."""
        by_row: dict[int, dict[int, list[int]]] = {}
        for i, start in enumerate(starts):
            by_row.setdefault(start.row, {}).setdefault(start.length, []).append(i)
        heavy = self.model.remembered(8 * self.given)
        groups = [
            part
            for places in by_row.values()
            for part in packed(places.values(), len(starts) if heavy else GROUP)
        ]
        crowds = [{starts[i].length for i in own} if heavy else own for own in groups]
        slots = max(map(len, crowds), default=1)
        width = memory.mask.shape[1] + slots * (len(starts[0].u) + 1 if starts else 1)
        logits = MAX_LOGITS // (slots * self.model.vocabulary)
        room = max(8 * self.budget, heavy)
        size = max(1, min(room // width, logits))
        for first in range(0, len(groups), size):
            yield groups[first : first + size]

    def _complete(
        self,
        memory: Memory,
        starts: Sequence[Start],
        groups: Sequence[list[int]],
        written: list[list[int]],
    ) -> None:
        """Sample in groups until all have ended; those that are left close up once they are few."""
        most = len(starts[0].u)
        under_way = self._begin(memory, starts, groups, most)
        for step in range(most):
            crowds = under_way.live()
            last = [written[c[0]][-1] if written[c[0]] else self.first for _, c in crowds]
            logits = under_way.read(self.model, [place for place, _ in crowds], last, step)
            tokens = self._draw(logits, [c for _, c in crowds], starts, step)
            for (place, crowd), drawn in zip(crowds, tokens, strict=True):
                parts: dict[int, list[int]] = {}
                for i, token in zip(crowd, drawn, strict=True):
                    written[i].append(token)
                    if not self.ended(written[i]):
                        parts.setdefault(token, []).append(i)
                under_way.split(place, list(parts.values()))
            left = len(under_way.live())
            if left == 0:
                return
            if 2 * left <= under_way.slots:
                under_way.close_up(most - step)

    def _draw(
        self, logits: Tensor, crowds: Sequence[list[int]], starts: Sequence[Start], step: int
    ) -> list[list[int]]:
        """The next token of every sample of each crowd, by its own number u. logits: (crowds, V)."""
        samples = [i for crowd in crowds for i in crowd]
        rows = torch.tensor([n for n, crowd in enumerate(crowds) for _ in crowd])
        u = torch.stack([starts[i].u[step] for i in samples])
        found = iter(pick_from(logits, rows, u, self.temperature).tolist())
        return [[next(found) for _ in crowd] for crowd in crowds]

    def _begin(
        self, memory: Memory, starts: Sequence[Start], groups: Sequence[list[int]], most: int
    ) -> "Groups":
        """Groups that stand where their starts do: a crowd sees its text up to there."""
        crowds = [list(_by_length(group, starts).values()) for group in groups]
        slots = max(map(len, crowds))
        ends = [[starts[c[0]].length for c in own] + [0] * (slots - len(own)) for own in crowds]
        crowds = [own + [[] for _ in range(slots - len(own))] for own in crowds]
        lengths = torch.tensor(ends, device=self.model.device)
        rows = torch.tensor([starts[group[0]].row for group in groups], device=self.model.device)
        text = self.model.branch(memory, rows, lengths.amax(1), slots * most)
        sees = text.mask[:, None, :] & (text.mask.cumsum(1)[:, None, :] <= lengths[:, :, None])
        return Groups(crowds, lengths, sees, text.cache)


def _by_length(group: Sequence[int], starts: Sequence[Start]) -> dict[int, list[int]]:
    """Samples of a group by how much of its text they stand behind."""
    found: dict[int, list[int]] = {}
    for i in group:
        found.setdefault(starts[i].length, []).append(i)
    return found


@mutable
class Groups:
    """Samples under way. crowds: G groups of J slots each, a slot holding the samples that have written
    the same so far. lengths: (G, J) tokens of a slot's text.

    sees: (G, J, T) which tokens of the cache it looks at: its text's, and what its samples wrote.
    """

    crowds: list[list[list[int]]]
    lengths: Tensor
    sees: Tensor
    cache: Cache

    @property
    def slots(self) -> int:
        """Slots of all groups, empty ones too."""
        return int(self.lengths.numel())

    def live(self) -> list[tuple[tuple[int, int], list[int]]]:
        """The slots in which something is sampled, and their samples."""
        return [
            ((g, j), crowd)
            for g, group in enumerate(self.crowds)
            for j, crowd in enumerate(group)
            if crowd
        ]

    def read(
        self, model: CausalModel, places: list[tuple[int, int]], tokens: list[int], step: int
    ) -> Tensor:
        """Read a token in each live slot; return the logits (N, V) of what follows."""
        count, slots = self.lengths.shape
        own = torch.eye(slots, dtype=torch.bool, device=model.device)
        self.sees = torch.cat([self.sees, own.expand(count, slots, slots)], 2)
        groups, columns = [g for g, _ in places], [j for _, j in places]
        ids = torch.zeros(count, slots, dtype=torch.long)
        ids[groups, columns] = torch.tensor(tokens)
        wanted = groups, columns
        return model.read_graph(
            ids.to(model.device), self.lengths + step, self.sees, wanted, self.cache
        )

    def split(self, place: tuple[int, int], parts: Sequence[list[int]]) -> None:
        """Let the samples of a slot go on in parts: the first there, each other in a free slot that
        sees what was written in it; those in no part have ended."""
        group, slot = place
        self.crowds[group][slot] = parts[0] if parts else []
        for part in parts[1:]:
            free = self._free(group)
            self.crowds[group][free] = part
            self.lengths[group, free] = self.lengths[group, slot]
            self.sees[group, free] = self.sees[group, slot]

    def _free(self, group: int) -> int:
        """An empty slot of a group; all groups get one more where it has none."""
        own = self.crowds[group]
        if all(own):
            for crowds in self.crowds:
                crowds.append([])
            self.lengths = nn.functional.pad(self.lengths, (0, 1))
            self.sees = nn.functional.pad(self.sees, (0, 0, 0, 1))
        return next(j for j, crowd in enumerate(own) if not crowd)

    def close_up(self, most: int) -> None:
        """Leave out groups and slots in which nothing is sampled. most: tokens still to come."""
        keep = [g for g, group in enumerate(self.crowds) if any(group)]
        busy = [[j for j, crowd in enumerate(self.crowds[g]) if crowd] for g in keep]
        width = max(map(len, busy))
        slots = [
            own + [j for j, crowd in enumerate(self.crowds[g]) if not crowd][: width - len(own)]
            for g, own in zip(keep, busy, strict=True)
        ]
        rows = torch.tensor(keep, device=self.lengths.device)
        if len(keep) < len(self.crowds):
            length = self.cache.get_seq_length()
            layers = [
                cast(RoomyLayer, layer).select(rows, length, width * most)
                for layer in self.cache.layers
            ]
            self.cache = Cache(layers=layers)  # type: ignore[arg-type]
        order = torch.tensor(slots, device=self.lengths.device)
        self.lengths = self.lengths[rows].gather(1, order)
        self.sees = self.sees[rows[:, None], order]
        self.crowds = [[self.crowds[g][j] for j in own] for g, own in zip(keep, slots, strict=True)]


def packed(places: Iterable[list[int]], most: int) -> Iterator[list[int]]:
    """Yield the samples of places in groups of at most `most`, those of one place together if they fit."""
    group: list[int] = []
    for place in places:
        if group and len(group) + len(place) > most:
            yield group
            group = []
        if len(place) > most:
            *full, place = evenly(place, most)
            yield from full
        group = group + place
    if group:
        yield group


def evenly(items: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield items in runs of about equal length, at most `most`."""
    count = -(-len(items) // most)
    for n in range(count):
        yield list(items[n * len(items) // count : (n + 1) * len(items) // count])
