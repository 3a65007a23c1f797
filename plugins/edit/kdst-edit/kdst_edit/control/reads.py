"""Columns of the maps that rules read, as marks at the tokens that are summed: no map is kept."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from kdst_edit.control.maps import ReadsMaps
from kdst_edit.control.session import Call, Row

MOST_READ = 64
"""Most columns that are read as marks; where there are more, maps are cheaper."""


@frozen
class Reads:
    """The columns that rules read in one call.

    rows: those of which columns are wanted. marks: (rows of the call, T, K), one at the tokens that are
    summed. tokens: (t,), those with a mark in some row. sums: (n, t, K), the marks of the rows wanted at
    these tokens, in float32. shares: which of the K are each rule's.
    """

    rows: tuple[int, ...] = ()
    marks: Tensor | None = None
    tokens: Tensor | None = None
    sums: Tensor | None = None
    shares: tuple[tuple[ReadsMaps, slice], ...] = ()

    @property
    def width(self) -> int:
        """Return K."""
        return 0 if self.marks is None else self.marks.shape[-1]

    def tell(self, rows: Sequence[Row], means: Mapping[int, Tensor]) -> None:
        """Hand the rules what was read (P, K) in each row, mean over heads."""
        for rule, share in self.shares:
            at = [i for i in self.rows if rule.wants(rows[i])]
            if at:
                shown = torch.stack([means[i][:, share] for i in at])
                rule.add_columns([rows[i] for i in at], shown)


def reads_of(call: Call, rules: Sequence[ReadsMaps], like: Tensor, tokens: int) -> Reads | None:
    """What rules read in a call, in the precision of `like`; None where that is too much for marks."""
    rows = [i for i, row in enumerate(call.rows) if any(rule.wants(row) for rule in rules)]
    if not rows:
        return Reads()
    widths = [rule.width for rule in rules]
    if None in widths or sum(width or 0 for width in widths) > MOST_READ:
        return None
    ends = list(accumulate(width or 0 for width in widths))
    shares = [slice(end - (w or 0), end) for end, w in zip(ends, widths, strict=True)]
    marked = [
        (i, token, share.start + k)
        for rule, share in zip(rules, shares, strict=True)
        for i in rows
        if rule.wants(call.rows[i])
        for k, tokens_of in enumerate(rule.columns(call.rows[i].branch))
        for token in tokens_of
    ]
    marks = torch.zeros(len(call.rows), tokens, ends[-1])
    places = torch.tensor(marked, dtype=torch.long).reshape(-1, 3)
    marks.index_put_(tuple(places.T), torch.ones(len(marked)), accumulate=True)
    used = places[:, 1].unique()
    sums = marks[rows][:, used].to(like.device)
    ours = tuple(zip(rules, shares, strict=True))
    return Reads(tuple(rows), marks.to(like), used.to(like.device), sums, ours)


class Reader:
    """What rules read in a layer, found once for the same rows and rules."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], Reads | None] = {}

    def __call__(
        self, call: Call, rules: Sequence[ReadsMaps], like: Tensor, tokens: int
    ) -> Reads | None:
        """Return what `reads_of` does."""
        key = (call.rows, *map(id, rules))
        if key not in self._found:
            self._found = {key: reads_of(call, rules, like, tokens)}
        return self._found[key]
