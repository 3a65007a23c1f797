"""The rules that methods are made of: what the edits take from the source, where and when."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from attrs import define, field
from torch import Tensor, nn

from kdst_edit.control.joint import processor
from kdst_edit.control.maps import MapEdit, MapWeights
from kdst_edit.control.session import Call, Control, Row, Rule, RuleError
from kdst_edit.control.weights import Weights
from kdst_edit.families.layer import Kind, Layer


@define(eq=False, kw_only=True)
class Copy(Rule):
    """Edits take outputs of some modules from the source.

    rows: `conditional` leaves the rows of the negative prompt alone; `all` changes them too, from the
    source's row of the same kind, or from its conditional one where the source is not guided.
    """

    rows: Literal["conditional", "all"] = "conditional"
    kinds: ClassVar[tuple[Kind, ...]] = ("self", "cross")

    def modules(self, layer: Layer) -> dict[str, nn.Module]:
        """The modules of a layer whose outputs are copied, by a name for each."""
        raise NotImplementedError

    def attach(self, control: Control) -> None:
        """Hook the modules of the chosen layers."""
        for layer in control.select(self, *self.kinds):
            if layer.joint is not None and layer.kind == "cross":
                raise RuleError(
                    f"{self.title} cannot act on {layer.name}: image and text share one attention there,"
                    " of which the image's part can be copied (self), or maps be edited (EditCrossMap)"
                )
            tokens = layer.image(control.latent)
            for name, module in self.modules(layer).items():
                key = f"{layer.name}.{name}"
                control.on_output(module, partial(self._copy, control, key, tokens))

    def _copy(self, control: Control, key: str, tokens: slice, call: Call, output: Tensor) -> None:
        """Overwrite the edits' rows of `output` (rows, …) by the source's, at some tokens."""
        if call.step not in self.steps:
            return
        for conditional in (True, False) if self.rows == "all" else (True,):
            edits = [
                i
                for i, row in enumerate(call.rows)
                if row.conditional == conditional and self.changes(row.branch)
            ]
            source = self._source(control, call, key, conditional, output[:, tokens])
            if edits and source is not None:
                for i in edits:
                    output[i, tokens].copy_(source)
                self.fired += 1

    def _source(
        self, control: Control, call: Call, key: str, conditional: bool, output: Tensor
    ) -> Tensor | None:
        """The source's row of a kind, or its conditional one."""
        for row in dict.fromkeys((Row(0, conditional), Row(0, True))):
            if row in call.index or control.keeps(key, row):
                return control.source(key, row, lambda i: output[i])
        return None


@define(eq=False, kw_only=True)
class CopyQK(Copy):
    """Edits attend as the source does: queries and keys are copied.

    Equal to copying the attention maps, as Prompt-to-Prompt's self-attention injection does, and
    scaled-dot-product attention stays on. In cross-attention, too, the edit keeps its own values. Where
    image and text share one attention, those of the image are copied: the edit keeps its own text.
    """

    def modules(self, layer: Layer) -> dict[str, nn.Module]:
        """The projections to queries and keys."""
        return {"to_q": layer.module.to_q, "to_k": layer.module.to_k}


@define(eq=False, kw_only=True)
class CopyKV(Copy):
    """Edits read the source's content: keys and values of self-attention are copied (MasaCtrl)."""

    def modules(self, layer: Layer) -> dict[str, nn.Module]:
        """The projections to keys and values."""
        return {"to_k": layer.module.to_k, "to_v": layer.module.to_v}


@define(eq=False, kw_only=True)
class CopyFeature(Copy):
    """Edits take the features of residual blocks before their skip is added (Plug-and-Play)."""

    kinds: ClassVar[tuple[Kind, ...]] = ("feature",)

    def modules(self, layer: Layer) -> dict[str, nn.Module]:
        """The last convolution of the block."""
        return {"conv2": layer.module.conv2}


@define(eq=False, kw_only=True)
class EditCrossMap(Rule):
    """Replace the maps of cross-attention, of conditional rows, by a function of source's and own.

    Where image and text share one attention, these are its columns of text in the image's rows, after the
    softmax over image and text; they are not normalised again.
    weights: the same edit as weights of the maps, where it is linear in them. Maps are then computed
    only for rules that read edited ones: weighting the values instead gives the same output.
    """

    edit: MapEdit
    weights: MapWeights | None = None
    _last: tuple[Tensor, Weights] | None = field(default=None, init=False)

    def attach(self, control: Control) -> None:
        """Ask for the maps of the chosen layers."""
        for layer in control.select(self, "cross"):
            control.processor(layer, processor).edits.append(self)

    def linear(
        self, step: int, branches: Sequence[int], like: Tensor
    ) -> tuple[Weights, Tensor | None]:
        """The weights of a step in the precision of `like`, taken apart once where they stay the same."""
        assert self.weights is not None
        weights, kept = self.weights(step, branches)
        if self._last is None or self._last[0] is not weights or not self._last[1].fits(like):
            self._last = (weights, Weights.of(weights, like))
        return self._last[1], kept


@define(eq=False, kw_only=True)
class StoreMaps(Rule):
    """Sum the cross-attention maps of the chosen layers, for some tokens and branches.

    All layers must have one resolution. tokens: positions; None for all. groups: in their place, by
    branch, sets of positions whose maps are added up, as those of a word's tokens. edited: the maps after
    `EditCrossMap` rather than the network's own. source: whether the source's are summed too.
    """

    tokens: Sequence[int] | None = None
    groups: Mapping[int, Sequence[Sequence[int]]] | None = None
    edited: bool = False
    source: bool = True
    _total: dict[tuple[int, ...], Tensor] = field(factory=dict, init=False)
    _count: dict[tuple[int, ...], int] = field(factory=dict, init=False)
    _size: tuple[int, int] = field(default=(0, 0), init=False)

    def attach(self, control: Control) -> None:
        """Ask for the maps of the chosen layers."""
        chosen = control.select(self, "cross")
        sizes = {layer.size(control.latent) for layer in chosen}
        if len(sizes) > 1:
            raise ValueError(f"maps of several resolutions cannot be summed: {sorted(sizes)}")
        (self._size,) = sizes
        self._total, self._count = {}, {}
        for layer in chosen:
            control.processor(layer, processor).stores.append(self)

    def wants(self, row: Row) -> bool:
        """Whether a row's maps are summed."""
        return row.conditional and (self.source if row.branch == 0 else self.changes(row.branch))

    @property
    def width(self) -> int | None:
        """How many columns a row has; None for one a token of the text."""
        if self.groups is not None:
            return max(map(len, self.groups.values()))
        return None if self.tokens is None else len(self.tokens)

    def columns(self, branch: int) -> Sequence[Sequence[int]]:
        """The sets of positions that are summed in a branch's maps, where not all are kept."""
        if self.groups is not None:
            return self.groups[branch]
        return [[token] for token in self.tokens or ()]

    def add(self, rows: Sequence[Row], maps: Tensor) -> None:
        """Add the maps (n, P, T) of some rows in one layer, mean over heads."""
        at = [i for i, row in enumerate(rows) if self.wants(row)]
        if not at:
            return
        chosen = maps if len(at) == len(rows) else maps[at]
        if self.groups is not None:
            chosen = _added(chosen, [self.groups[rows[i].branch] for i in at], self.width or 0)
        elif self.tokens is not None:
            chosen = chosen[..., list(self.tokens)]
        self.add_columns([rows[i] for i in at], chosen)

    def add_columns(self, rows: Sequence[Row], sums: Tensor) -> None:
        """Add sums (n, P, K) of columns, of rows that are wanted, in one layer, mean over heads."""
        key = tuple(row.branch for row in rows)
        self._count[key] = self._count.get(key, 0) + 1
        self._total[key] = self._total[key].add_(sums) if key in self._total else sums.clone()
        self.fired += 1

    def forget(self) -> None:
        """Begin the sums anew, for maps of single steps."""
        self._total, self._count = {}, {}

    def mean(self, branches: Sequence[int]) -> Tensor:
        """Mean maps (B, h, w, T) over layers, heads and steps so far, of some branches in order.

        With tokens or groups T counts those.
        """
        of = {
            branch: total[i] / self._count[key]
            for key, total in self._total.items()
            for i, branch in enumerate(key)
        }
        return torch.stack([of[b] for b in branches]).reshape(len(branches), *self._size, -1)


def _added(maps: Tensor, groups: Sequence[Sequence[Sequence[int]]], width: int) -> Tensor:
    """Maps (n, P, K) of each row's sets of positions, zeros where a row has fewer, of maps (n, P, T)."""
    found = maps.new_zeros(*maps.shape[:2], width)
    for row, sets in enumerate(groups):
        for k, at in enumerate(sets):
            found[row, :, k] = maps[row][:, list(at)].sum(-1)
    return found


@define(eq=False, kw_only=True)
class SourceReset(Rule):
    """After each step the source is put back on the path of its inversion (Direct Inversion).

    Before any other rule reads the source, as in the authors' code. path: latents (N + 1, C, h, w),
    path[i] before step i.
    """

    order: ClassVar[int] = -1

    path: Tensor

    def after_step(self, step: int, latents: Tensor) -> Tensor:
        """Put the source's row back."""
        latents = latents.clone()
        latents[0] = self.path[step + 1].to(latents)
        self.fired += 1
        return latents


@define(eq=False, kw_only=True)
class Confine(Rule):
    """After each step, and after all other rules, edits are the source outside a mask.

    inside: (h, w), 1 where edits may differ. path: latents (N + 1, C, h, w) of the inverted source,
    or None for the source's branch.
    """

    order: ClassVar[int] = 1
    inside: Tensor
    path: Tensor | None = None

    def after_step(self, step: int, latents: Tensor) -> Tensor:
        """Put the source back outside the mask."""
        latents, inside = latents.clone(), self.inside.to(latents)
        source = latents[0] if self.path is None else self.path[step + 1].to(latents)
        latents[1:] = torch.where(inside > 0, latents[1:], source)
        self.fired += 1
        return latents
