"""Sampling on from many places of texts that were read once; samples at one text share its memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from attrs import frozen
from torch import Tensor
from transformers.cache_utils import Cache

from kdst_toolformer.draws import pick
from kdst_toolformer.forward import MAX_LOGITS, CausalModel, Memory, RoomyLayer

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
        """Sample in groups (G, J): a slot sees its text up to where it stands, and what it wrote."""
        slots = max(map(len, groups))
        jobs = torch.tensor([[*g, *[EMPTY] * (slots - len(g))] for g in groups])
        lengths = torch.tensor([[starts[i].length if i >= 0 else 0 for i in g] for g in jobs.tolist()])
        lengths = lengths.to(self.model.device)
        most = len(starts[0].u)
        rows = torch.tensor([starts[g[0]].row for g in groups], device=self.model.device)
        copy = self.model.branch(memory, rows, lengths.amax(1), slots * most)
        cache, read = copy.cache, copy.mask
        sees = read[:, None, :] & (read.cumsum(1)[:, None, :] <= lengths[:, :, None])
        for step in range(most):
            own = torch.eye(slots, dtype=torch.bool, device=self.model.device)
            sees = torch.cat([sees, own.expand(len(jobs), slots, slots)], 2)
            live = (jobs != EMPTY).nonzero().tolist()
            names = [int(jobs[g, j]) for g, j in live]
            ids = torch.full(jobs.shape, self.first)
            for (g, j), i in zip(live, names, strict=True):
                ids[g, j] = written[i][-1] if written[i] else self.first
            wanted = [g for g, _ in live], [j for _, j in live]
            logits = self.model.read_graph(
                ids.to(self.model.device), lengths + step, sees, wanted, cache
            )
            u = torch.stack([starts[i].u[step] for i in names]).to(logits.device)
            for (g, j), i, token in zip(
                live, names, pick(logits, u, self.temperature).tolist(), strict=True
            ):
                written[i].append(token)
                if self.ended(written[i]):
                    jobs[g, j] = EMPTY
            left = int((jobs != EMPTY).sum())
            if left == 0:
                return
            if 2 * left <= jobs.numel():
                keep, order = _live(jobs)
                jobs = jobs[keep].gather(1, order)
                slots = jobs.shape[1]
                here = order.to(self.model.device)
                lengths = lengths[keep].gather(1, here)
                sees = sees[keep].gather(1, here[:, :, None].expand(-1, -1, sees.shape[2]))
                if len(keep) < len(groups):
                    cache = _rows(cache, keep.to(self.model.device), slots * (most - step))
                groups = [groups[k] for k in keep.tolist()]


def evenly(items: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield items in runs of about equal length, at most `most`."""
    count = -(-len(items) // most)
    for n in range(count):
        yield list(items[n * len(items) // count : (n + 1) * len(items) // count])


def _live(jobs: Tensor) -> tuple[Tensor, Tensor]:
    """The groups (G',) in which something is sampled, and their slots (G', J'), those first."""
    count = (jobs != EMPTY).sum(1)
    keep = count.nonzero()[:, 0]
    order = (jobs[keep] == EMPTY).long().argsort(dim=1, stable=True)
    return keep, order[:, : int(count.max())]


def _rows(cache: Cache, rows: Tensor, room: int) -> Cache:
    """Copy rows of a cache."""
    length = cache.get_seq_length()
    layers = [cast(RoomyLayer, layer).select(rows, length, room) for layer in cache.layers]
    return Cache(layers=layers)  # type: ignore[arg-type]
