"""Cross-attention that shows its maps to rules, computed explicitly only for the rows concerned."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

import torch
from attrs import frozen
from torch import Tensor
from torch.nn import functional as F

from kdst_edit.control.session import Call, Control, Row
from kdst_edit.control.weights import Weights
from kdst_edit.families.layer import Layer

SOURCE = Row(0, True)
Rows = slice | list[int]
AT_ONCE = 2**17
"""Elements of a row's maps held at a time: heads are worked on in turn where there are more."""


MapEdit = Callable[[Tensor, int, Sequence[int]], Tensor]
"""(maps (1 + n, H, P, T), step, branches (n,)) -> maps of the same shape.

Row 0 is the source's, the others are those of the edits' branches given; H heads, P pixels, T tokens.
"""
MapWeights = Callable[[int, Sequence[int]], tuple[Tensor, Tensor | None]]
"""(step, branches (n,)) -> (W (n, T, T), v (n, T) or None), for an edit that is linear in the maps.

Edited maps are source @ W + own * v, where None stands for zeros.
"""


class EditsMaps(Protocol):
    """A rule that replaces maps of edits, at some steps."""

    steps: Collection[int]
    branches: Collection[int] | None
    edit: MapEdit
    weights: MapWeights | None
    fired: int

    def changes(self, branch: int) -> bool:
        """Return whether the rule is about an edit's branch."""

    def linear(
        self, step: int, branches: Sequence[int], like: Tensor
    ) -> tuple[Weights, Tensor | None]:
        """Return W, in the precision of `like`, and v, where `weights` gives them."""


class ReadsMaps(Protocol):
    """A rule that is shown maps, at some steps; `edited`: as other rules leave them."""

    steps: Collection[int]
    edited: bool

    def wants(self, row: Row) -> bool:
        """Return whether the maps of a row are to be shown."""

    @property
    def width(self) -> int | None:
        """Return how many columns are shown, at most; None for all tokens."""

    def columns(self, branch: int) -> Sequence[Sequence[int]]:
        """Return the sets of tokens of which a branch's columns are sums, where not all are shown."""

    def add(self, rows: Sequence[Row], maps: Tensor) -> None:
        """Take the maps (n, P, T) of some rows in one layer, mean over heads."""

    def add_columns(self, rows: Sequence[Row], sums: Tensor) -> None:
        """Take columns (n, P, width) of rows that are wanted, mean over heads."""


class Look(Protocol):
    """The maps of one layer in one call.

    heads: H. elements: of a row's maps of one head, P × T.
    """

    @property
    def heads(self) -> int:
        """Return the heads."""

    @property
    def elements(self) -> int:
        """Return the elements of a map."""

    def own(self, rows: Rows, heads: slice) -> Tensor:
        """Return maps (n, h, P, T) of some rows and heads."""

    def put(self, mixed: Tensor, rows: Rows, heads: slice, edited: Tensor, own: Tensor) -> None:
        """Make the outputs (rows, H, N, d) of some rows what edited maps give."""


@frozen
class CrossMaps:
    """Maps of attention from pixels to text: queries (rows, H, P, d), keys and values (rows, H, T, d)."""

    attn: Any
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None

    @property
    def heads(self) -> int:
        """Return the heads."""
        return int(self.attn.heads)

    @property
    def elements(self) -> int:
        """Return pixels times tokens."""
        return self.query.shape[2] * self.key.shape[2]

    def own(self, rows: Rows, heads: slice) -> Tensor:
        """Return the softmax over the tokens."""
        mask = None if self.mask is None else self.mask[rows, heads]
        return _maps(self.attn, self.query[rows, heads], self.key[rows, heads], mask)

    def put(self, mixed: Tensor, rows: Rows, heads: slice, edited: Tensor, own: Tensor) -> None:
        """Write edited maps times values."""
        mixed[rows, heads] = edited.to(self.value.dtype) @ self.value[rows, heads]


class MapProcessor:
    """Processor of one attention layer; rows that no rule edits stay on scaled-dot-product attention.

    Where no rule needs maps, the layer's original processor is called.
    """

    def __init__(self, control: Control, layer: Layer) -> None:
        self.control, self.layer = control, layer
        self.original: Any = layer.module.processor
        self.edits: list[EditsMaps] = []
        self.stores: list[ReadsMaps] = []

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attend from pixels (rows, P, C) to tokens (rows, T, D)."""
        call = self.control.call
        if call is None or encoder_hidden_states is None or not self._needed(call):
            done: Tensor = self.original(
                attn, hidden_states, encoder_hidden_states, attention_mask, temb
            )
            return done
        words = encoder_hidden_states
        if attn.norm_cross:
            words = attn.norm_encoder_hidden_states(words)
        query, key, value = (
            x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for x in (attn.to_q(hidden_states), attn.to_k(words), attn.to_v(words))
        )
        query = query if attn.norm_q is None else attn.norm_q(query)
        key = key if attn.norm_k is None else attn.norm_k(key)
        mask = _mask(attn, attention_mask, words)
        mixed = self._attend(call, attn, (query, key, value), mask)
        del query, key, value
        mixed = mixed.transpose(1, 2).flatten(2).to(hidden_states.dtype)
        mixed = attn.to_out[1](attn.to_out[0](mixed))
        if attn.residual_connection:
            mixed = mixed + hidden_states
        result: Tensor = mixed / attn.rescale_output_factor
        return result

    def _needed(self, call: Call) -> bool:
        """Whether a rule needs maps of some row of this call."""
        step = call.step
        return any(step in rule.steps for rule in self.edits) or any(
            step in rule.steps for rule in self.stores
        )

    def _attend(
        self, call: Call, attn: Any, parts: tuple[Tensor, Tensor, Tensor], mask: Tensor | None
    ) -> Tensor:
        """Outputs (rows, H, P, d) of attention under the rules."""
        edits = [rule for rule in self.edits if call.step in rule.steps]
        stores = [rule for rule in self.stores if call.step in rule.steps]
        if weighted(edits) and not any(rule.edited for rule in stores):
            self._show(call, CrossMaps(attn, *parts, mask), [], stores)
            return self._weigh(call, parts, mask, edits)
        mixed = F.scaled_dot_product_attention(*parts, attn_mask=mask)
        self._show(call, CrossMaps(attn, *parts, mask), edits, stores, mixed)
        return mixed

    def _weigh(
        self,
        call: Call,
        parts: tuple[Tensor, Tensor, Tensor],
        mask: Tensor | None,
        rules: list[EditsMaps],
    ) -> Tensor:
        """Outputs (rows, H, P, d) under linear edits: maps times weighted values, without any map.

        Overwrites the edits' rows of the parts.
        """
        query, key, value = parts
        masks = mask if mask is None else mask.clone()
        own: list[tuple[list[int], Tensor]] = []
        for rule in rules:
            mine = [i for i, r in enumerate(call.rows) if r.conditional and rule.changes(r.branch)]
            if not mine and SOURCE not in call.index:
                continue
            source = [
                self.control.source(f"{self.layer.name}/{name}", SOURCE, part.__getitem__)
                for name, part in (("query", query), ("key", key), ("mask", mask))
                if part is not None
            ]
            if not mine:
                continue
            assert rule.weights is not None
            at = index_of(mine)
            weights, kept = rule.weights(call.step, [call.rows[i].branch for i in mine])
            if kept is not None:
                values = value[at] * kept[:, None, :, None].to(value)
                kept_mask = None if mask is None else mask[at]
                added = F.scaled_dot_product_attention(query[at], key[at], values, kept_mask)
                own.append((mine, added))
            value[at] = weights[:, None].to(value) @ value[at]
            query[at], key[at] = source[:2]
            if masks is not None:
                masks[at] = source[2]
            rule.fired += 1
        mixed = F.scaled_dot_product_attention(query, key, value, masks)
        for mine, added in own:
            mixed[index_of(mine)] += added
        return mixed

    def _show(
        self,
        call: Call,
        look: "Look",
        edits: list[EditsMaps],
        stores: list[ReadsMaps],
        mixed: Tensor | None = None,
    ) -> None:
        """Show the maps to the rules, and overwrite the outputs of rows whose maps they changed."""
        rows = [
            i
            for i, row in enumerate(call.rows)
            if row.conditional and (edits or any(rule.wants(row) for rule in stores))
        ]
        if not rows:
            return
        kinds = [call.rows[i] for i in rows]
        sums: dict[bool, Tensor] = {}
        for heads in _head_parts(look.heads, look.elements):
            own = look.own(index_of(rows), heads)
            edited, changed = self._edit(edits, kinds, own, f"{self.layer.name}/{heads.start}")
            for wanted in {rule.edited for rule in stores}:
                summed = (edited if wanted else own).sum(1, dtype=torch.float32)
                sums[wanted] = sums[wanted].add_(summed) if wanted in sums else summed
            if changed and mixed is not None:
                here = index_of(changed)
                at = index_of([rows[i] for i in changed])
                look.put(mixed, at, heads, edited[here], own[here])
        means = {edited: total.div_(look.heads) for edited, total in sums.items()}
        for rule in stores:
            rule.add(kinds, means[rule.edited])

    def _edit(
        self, rules: list[EditsMaps], rows: list[Row], own: Tensor, key: str
    ) -> tuple[Tensor, list[int]]:
        """Maps (n, H, P, T) after the rules, and the indices of rows that were changed."""
        edited, changed = own, set[int]()
        for rule in rules:
            source = self.control.source(key, SOURCE, lambda _: own[rows.index(SOURCE)])
            mine = [i for i, row in enumerate(rows) if rule.changes(row.branch)]
            if not mine:
                continue
            whole = rows[0] == SOURCE and mine == list(range(1, len(rows)))
            stacked = edited if whole else torch.cat([source[None], edited[mine]])
            result = rule.edit(stacked, self._step(), [rows[i].branch for i in mine])
            if whole:
                edited = result
            else:
                edited = edited.clone() if edited is own else edited
                edited[mine] = result[1:]
            changed.update(mine)
            rule.fired += 1
        return edited, sorted(changed)

    def _step(self) -> int:
        """The step of this call."""
        assert self.control.call is not None
        return self.control.call.step


def weighted(rules: list[EditsMaps]) -> bool:
    """Whether edits are given as weights and each branch is changed by one of them only."""
    taken: list[int] = [b for rule in rules for b in rule.branches or ()]
    alone = len(rules) < 2 or (len(taken) == len(set(taken)) and all(r.branches for r in rules))
    return alone and all(rule.weights is not None for rule in rules)


def _head_parts(heads: int, elements: int) -> Iterator[slice]:
    """Slices of the heads, so that a row's maps of one slice stay within `AT_ONCE` elements.

    They are the same for any number of rows, so that a source kept from another call fits.
    """
    size = max(1, min(heads, AT_ONCE // elements))
    return (slice(start, min(start + size, heads)) for start in range(0, heads, size))


def index_of(rows: list[int]) -> slice | list[int]:
    """Rows as a slice where they are evenly spaced: it copies nothing."""
    step = rows[1] - rows[0] if len(rows) > 1 else 1
    even = step > 0 and rows == list(range(rows[0], rows[-1] + 1, step))
    return slice(rows[0], rows[-1] + 1, step) if even else rows


def _mask(attn: Any, attention_mask: Tensor | None, words: Tensor) -> Tensor | None:
    """The mask as (rows, H, 1 or P, T)."""
    if attention_mask is None:
        return None
    rows, tokens = words.shape[:2]
    full: Tensor = attn.prepare_attention_mask(attention_mask, tokens, rows)
    return full.view(rows, attn.heads, -1, full.shape[-1])


def _maps(attn: Any, query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention maps (n, H, P, T) of queries (n, H, P, d) on keys (n, H, T, d)."""
    upcast = attn.upcast_attention or attn.upcast_softmax
    if upcast:
        query, key = query.float(), key.float()
    rows, heads = query.shape[:2]
    scores = torch.baddbmm(
        query.new_empty(()), query.flatten(0, 1), key.flatten(0, 1).mT, beta=0, alpha=attn.scale
    ).unflatten(0, (rows, heads))
    if mask is not None:
        scores = scores + mask
    return scores.softmax(-1)
