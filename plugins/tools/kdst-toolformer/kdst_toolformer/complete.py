"""Sampling on from many places of texts that were read once; samples at one text share its memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from attrs import frozen, mutable
from torch import Tensor
from transformers.cache_utils import Cache

from kdst_toolformer.draws import pick
from kdst_toolformer.forward import MAX_LOGITS, CausalModel
from kdst_toolformer.memory import Memory, RoomyLayer

GROUP = 16
"""Samples that share one copy of a text's memory; each also passes over what the others wrote."""

EMPTY = -1
"""A slot of a group in which nothing is sampled."""


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

    def __call__(self, memory: Memory, starts: Sequence[Start]) -> list[list[int]]:
        """Return the tokens that each start is followed by."""
        written: list[list[int]] = [[] for _ in starts]
        for groups in self._batches(memory, starts):
            self._complete(memory, starts, groups, written)
        return written

    def _batches(self, memory: Memory, starts: Sequence[Start]) -> Iterator[list[list[int]]]:
        """Starts in groups of one row each, as many groups at a time as memory should hold."""
        by_row: dict[int, list[int]] = {}
        for i, start in enumerate(starts):
            by_row.setdefault(start.row, []).append(i)
        groups = [part for members in by_row.values() for part in evenly(members, GROUP)]
        slots = max(map(len, groups), default=1)
        width = memory.mask.shape[1] + slots * (len(starts[0].u) + 1 if starts else 1)
        logits = MAX_LOGITS // (slots * self.model.vocabulary)
        size = max(1, min(8 * self.budget // width, logits))
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
            places, jobs = under_way.live()
            last = [written[i][-1] if written[i] else self.first for i in jobs]
            logits = under_way.read(self.model, places, last, step)
            u = torch.stack([starts[i].u[step] for i in jobs]).to(logits.device)
            tokens = pick(logits, u, self.temperature).tolist()
            for place, i, token in zip(places, jobs, tokens, strict=True):
                written[i].append(token)
                if self.ended(written[i]):
                    under_way.jobs[place] = EMPTY
            left = int((under_way.jobs != EMPTY).sum())
            if left == 0:
                return
            if 2 * left <= under_way.jobs.numel():
                under_way.close_up(most - step)

    def _begin(
        self, memory: Memory, starts: Sequence[Start], groups: Sequence[list[int]], most: int
    ) -> "Groups":
        """Groups that stand where their starts do: a slot sees its text up to there."""
        slots = max(map(len, groups))
        jobs = [[*group, *[EMPTY] * (slots - len(group))] for group in groups]
        ends = [[starts[i].length if i != EMPTY else 0 for i in group] for group in jobs]
        lengths = torch.tensor(ends, device=self.model.device)
        rows = torch.tensor([starts[group[0]].row for group in groups], device=self.model.device)
        text = self.model.branch(memory, rows, lengths.amax(1), slots * most)
        sees = text.mask[:, None, :] & (text.mask.cumsum(1)[:, None, :] <= lengths[:, :, None])
        return Groups(torch.tensor(jobs), lengths, sees, text.cache)


@mutable
class Groups:
    """Samples under way. jobs: (G, J) which sample is in a slot. lengths: (G, J) tokens of its text.

    sees: (G, J, T) which tokens of the cache it looks at: its text's, and what it wrote itself.
    """

    jobs: Tensor
    lengths: Tensor
    sees: Tensor
    cache: Cache

    def live(self) -> tuple[list[tuple[int, int]], list[int]]:
        """The slots in which something is sampled, and what."""
        places = [(g, j) for g, j in (self.jobs != EMPTY).nonzero().tolist()]
        return places, [int(self.jobs[place]) for place in places]

    def read(
        self, model: CausalModel, places: list[tuple[int, int]], tokens: list[int], step: int
    ) -> Tensor:
        """Read a token in each live slot; return the logits (N, V) of what follows."""
        count, slots = self.jobs.shape
        own = torch.eye(slots, dtype=torch.bool, device=model.device)
        self.sees = torch.cat([self.sees, own.expand(count, slots, slots)], 2)
        groups, columns = [g for g, _ in places], [j for _, j in places]
        ids = torch.zeros(count, slots, dtype=torch.long)
        ids[groups, columns] = torch.tensor(tokens)
        wanted = groups, columns
        return model.read_graph(
            ids.to(model.device), self.lengths + step, self.sees, wanted, self.cache
        )

    def close_up(self, most: int) -> None:
        """Leave out groups and slots in which nothing is sampled. most: tokens still to come."""
        busy = (self.jobs != EMPTY).sum(1)
        keep = busy.nonzero()[:, 0]
        order = (self.jobs[keep] == EMPTY).long().argsort(dim=1, stable=True)[:, : int(busy.max())]
        if len(keep) < len(busy):
            rows, length = keep.to(self.lengths.device), self.cache.get_seq_length()
            layers = [
                cast(RoomyLayer, layer).select(rows, length, order.shape[1] * most)
                for layer in self.cache.layers
            ]
            self.cache = Cache(layers=layers)  # type: ignore[arg-type]
        self.jobs = self.jobs[keep].gather(1, order)
        order = order.to(self.lengths.device)
        self.lengths = self.lengths[keep].gather(1, order)
        self.sees = self.sees[keep].gather(1, order[:, :, None].expand(-1, -1, self.sees.shape[2]))


def evenly(items: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield items in runs of about equal length, at most `most`."""
    count = -(-len(items) // most)
    for n in range(count):
        yield list(items[n * len(items) // count : (n + 1) * len(items) // count])
