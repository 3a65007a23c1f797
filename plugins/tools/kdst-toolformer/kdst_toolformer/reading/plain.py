"""Reading without any shortcut, for models whose layers do not allow for one.

Every line of tokens is read from its first one: without a cache, padding, masks or positions that are
given. So what a model says is what it says of that text alone, whatever its layers do. It takes long.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from kdst_toolformer.reading.forward import MAX_LOGITS, CausalModel, Wanted, only
from kdst_toolformer.reading.memory import Memory

LINES = 2048
"""Tokens of lines that are read together."""

Place = tuple[int, int]
"""A line, and the index of a token in it."""


class PlainModel(CausalModel):
    """A causal language model of which only one thing is used: its logits of a text.

    Its memory holds the tokens that were read, as the keys of a single layer.
    """

    @torch.inference_mode()
    def read(
        self, memory: Memory, ids: Tensor, real: Tensor, keep: int = 0, wanted: Wanted | None = None
    ) -> tuple[Tensor, Memory]:
        """Read on, as `CausalModel.read`; what is said of padding is 0."""
        seen, mask = self._remember(memory.cache, ids), torch.cat([memory.mask, real], 1)
        before, (rows, count) = seen.shape[1] - ids.shape[1], ids.shape
        first = count - keep if keep else 0
        asked = wanted or (
            [row for row in range(rows) for _ in range(first, count)],
            list(range(first, count)) * rows,
        )
        behind = mask.cumsum(1) - 1
        places = [
            (row, int(behind[row, before + column])) if real[row, column] else None
            for row, column in zip(*asked, strict=True)
        ]
        lines = [seen[row, mask[row]].tolist() for row in range(rows)]
        logits = self._read_lines(lines, places)
        after = Memory(memory.cache, mask)
        return logits if wanted else logits.view(rows, count - first, -1), after

    @torch.inference_mode()
    def read_graph(
        self,
        ids: Tensor,
        positions: Tensor,
        sees: Tensor | None,
        wanted: Wanted,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return the logits (N, V) of wanted tokens, as `CausalModel.read_graph`."""
        seen = ids if cache is None else self._remember(cache, ids)
        before, count = seen.shape[1] - ids.shape[1], ids.shape[1]
        if sees is None:
            sees = torch.ones(count, seen.shape[1], dtype=torch.bool, device=ids.device)
            sees = sees.tril(before).expand(len(ids), -1, -1)
        asked = list(zip(*wanted, strict=True))
        lines, places = list[list[int]](), list[Place | None]([None] * len(asked))
        own: dict[int, list[tuple[int, Tensor]]] = {}
        lengths = sees.sum(-1)
        for n in sorted(range(len(asked)), key=lambda n: -int(lengths[asked[n]])):
            row, column = asked[n]
            length = int(lengths[row, column])
            for line, mask in own.setdefault(row, []):
                if mask[before + column]:
                    places[n] = line, length - 1
                    break
            else:
                places[n] = len(lines), length - 1
                own[row].append((len(lines), sees[row, column]))
                lines.append(seen[row, sees[row, column]].tolist())
        return self._read_lines(lines, places)

    def _remember(self, cache: Cache, ids: Tensor) -> Tensor:
        """Add tokens (R, t) to those that were read; return all (R, T)."""
        keys, _ = cast(Any, cache).update(ids[:, None, :, None], ids[:, None, :, None], 0)
        found: Tensor = keys[:, 0, :, 0]
        return found

    def _read_lines(self, lines: Sequence[list[int]], places: Sequence[Place | None]) -> Tensor:
        """The logits (N, V) at places of lines, lines of one length read together."""
        by_line: dict[int, list[int]] = {}
        for n, place in enumerate(places):
            if place is not None:
                by_line.setdefault(place[0], []).append(n)
        by_length: dict[int, list[int]] = {}
        for line in by_line:
            by_length.setdefault(len(lines[line]), []).append(line)
        found: Tensor | None = None
        for length, members in by_length.items():
            size = max(1, self.most(LINES) // length)
            for first in range(0, len(members), size):
                batch = members[first : first + size]
                asked = [n for line in batch for n in by_line[line]]
                row_of = {line: row for row, line in enumerate(batch)}
                chosen = [cast(Place, places[n]) for n in asked]
                rows = [row_of[line] for line, _ in chosen]
                logits = self._said([lines[i] for i in batch], (rows, [i for _, i in chosen]))
                if found is None:
                    found = logits.new_zeros(len(places), logits.shape[-1])
                found[asked] = logits
        assert found is not None
        return found

    def _said(self, lines: Sequence[list[int]], wanted: Wanted) -> Tensor:
        """The logits (N, V) of wanted tokens of lines of one length, from one plain reading."""
        rows, columns = (torch.tensor(part, device=self.device) for part in wanted)
        ids = torch.tensor(lines, device=self.device)
        head = getattr(self.model, "get_output_embeddings", lambda: None)()
        if head is None or ids.numel() * self.vocabulary <= MAX_LOGITS // 16:
            logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
            return logits[rows, columns]
        with only(head, rows, columns):
            return cast(Tensor, self.model(input_ids=ids, use_cache=False).logits)[0]
