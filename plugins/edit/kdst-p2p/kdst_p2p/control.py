"""Cross-attention control: the edit of maps, and the rules that carry it out (Hertz et al., section 3.3)."""

from collections.abc import Sequence
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_core.contracts import EditRequest
from kdst_edit.control.layers import Layers, find_layers
from kdst_edit.control.rules import CopyQK, EditCrossMap
from kdst_edit.control.session import Rule
from kdst_edit.families.layer import Layer
from kdst_edit.families.registry import network_of
from kdst_edit.kit import carried_out, texts, word_layers
from kdst_p2p.options import Options
from kdst_p2p.ranges import injected, refinement, replacement, weights
from kdst_p2p.settings import Setting


def edit_cross(
    attention: Tensor,
    cross_alpha: Tensor,
    *,
    replace: Tensor | None = None,
    refine: tuple[Tensor, Tensor] | None = None,
    equalizer: Tensor | None = None,
) -> Tensor:
    """Maps (B, H, P, T) in which the edits' rows take the source's attention; row 0 is the source.

    cross_alpha: (B - 1, 1, 1, T), one where the source's attention is injected at this step. replace:
    mappers (B - 1, T, T) of a word swap. refine: mappers (B - 1, T) and alphas (B - 1, T) of added
    words. equalizer: weights c (1 or B - 1, T). Without any of them the source's maps are injected as
    they are. Rows are not normalised again after re-weighting, as in the authors' code.
    """
    source, own = attention[0], attention[1:]
    injected = source.expand_as(own)
    if replace is not None:
        injected = source @ replace[:, None].to(source)
    elif refine is not None:
        mapper, alphas = (x.to(source.device) for x in refine)
        kept = alphas[:, None, None].to(source)
        injected = source[..., mapper].movedim(-2, 0) * kept + own * (1 - kept)
    if equalizer is not None:
        injected = injected * equalizer[:, None, None].to(source)
    alpha = cross_alpha.to(source).expand_as(own)
    return torch.cat([attention[:1], torch.lerp(own, injected, alpha)])


def cross_weights(
    cross_alpha: Tensor,
    *,
    replace: Tensor | None = None,
    refine: tuple[Tensor, Tensor] | None = None,
    equalizer: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The edit of `edit_cross` as weights: W (B - 1, T, T) of the source's maps, v (B - 1, T) of own.

    Edited maps are source @ W + own * v; None where an edit keeps nothing of its own.
    """
    alpha = cross_alpha[:, 0, 0]
    strength = alpha if equalizer is None else alpha * equalizer.to(alpha)
    own = 1 - alpha
    tokens = alpha.shape[-1]
    if replace is not None:
        taken = replace.to(alpha)
    elif refine is not None:
        mapper, alphas = (x.to(alpha.device) for x in refine)
        kept = alphas.to(alpha)
        taken = torch.nn.functional.one_hot(mapper % tokens, tokens).mT.to(alpha) * kept[:, None]
        own = own + strength * (1 - kept)
    else:
        taken = torch.eye(tokens).to(alpha).expand(len(alpha), -1, -1)
    return taken * strength[:, None], own if own.any() else None


@frozen
class CrossEdit:
    """What a rule does with cross-attention maps: the tensors of all edits of one kind, by branch."""

    alphas: Tensor
    rows: dict[int, int]
    equalizer: Tensor | None
    replace: Tensor | None = None
    refine: tuple[Tensor, Tensor] | None = None
    _last: dict[tuple[int, ...], tuple[Tensor, Tensor | None]] = field(factory=dict, init=False)
    _like: list[int] = field(init=False)
    """For each step the first one with the same alphas: their weights are the same too."""

    @_like.default
    def _first_alike(self) -> list[int]:
        """Return for each step the first one with the same alphas."""
        found: dict[bytes, int] = {}
        rows = self.alphas.flatten(1).cpu().numpy()
        return [found.setdefault(row.tobytes(), step) for step, row in enumerate(rows)]

    def copies(self, steps: Sequence[int]) -> bool:
        """Whether the source's maps are injected as they are, for all tokens, at some steps."""
        changed = (self.replace, self.refine, self.equalizer)
        return all(x is None for x in changed) and bool((self.alphas[steps] == 1).all())

    def __call__(self, maps: Tensor, step: int, branches: Sequence[int]) -> Tensor:
        """Edit maps (1 + n, H, P, T) of the source and some branches."""
        at = self._at(branches)
        return edit_cross(maps, self.alphas[step, at], **self._tensors(at))

    def weights(self, step: int, branches: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """The same edit as weights (n, T, T) of the source's maps and (n, T) of their own."""
        key = (self._like[step], *branches)
        if key not in self._last:
            self._last.clear()
            at = self._at(branches)
            self._last[key] = cross_weights(self.alphas[step, at], **self._tensors(at))
        return self._last[key]

    def _at(self, branches: Sequence[int]) -> slice | list[int]:
        """Where some branches are in the tensors."""
        at = [self.rows[b] for b in branches]
        return slice(None) if at == list(range(len(self.rows))) else at

    def _tensors(self, at: slice | list[int]) -> dict[str, Any]:
        """What decides the edit, for some branches."""
        return {
            "replace": None if self.replace is None else self.replace[at],
            "refine": None if self.refine is None else (self.refine[0][at], self.refine[1][at]),
            "equalizer": None if self.equalizer is None else self.equalizer[at],
        }


def cross_rules(
    request: EditRequest, source: str, settings: Sequence[Setting], options: Options
) -> list[Rule]:
    """One rule for all swaps and one for all refinements, at the steps of their tau."""
    rules: list[Rule] = []
    for kind in ("swap", "refine"):
        branches = [b for b, setting in enumerate(settings, 1) if setting.kind == kind]
        if branches:
            edit = _cross_edit(request, source, settings, branches, options)
            rules += _where_needed(request, edit, branches)
    return rules


def _where_needed(
    request: EditRequest, edit: CrossEdit, branches: Sequence[int]
) -> list[EditCrossMap | CopyQK]:
    """The rules that carry out an edit of maps, without computing maps where none are changed.

    Injecting the source's maps as they are, for all tokens, is copying its queries and keys, but where
    image and text share one attention. Layers whose maps are stored stay apart, since what is stored is
    what the network itself attends to.
    """
    active = edit.alphas[:-1].flatten(1).any(1).tolist()
    steps = [step for step in carried_out(request) if active[step]]
    if not steps:
        return []
    layers = find_layers(network_of(request.pipeline))
    if not edit.copies(steps) or any(x.joint is not None for x in layers):
        return [_edit_maps(edit, Layers("cross"), steps, branches)]
    stored = word_layers(request)
    found: list[EditCrossMap | CopyQK] = [_edit_maps(edit, stored, steps, branches)]
    if any(_left(x, stored) for x in layers):
        found.append(CopyQK(layers=lambda x: _left(x, stored), steps=steps, branches=branches))
    return found


def _edit_maps(
    edit: CrossEdit, layers: Layers, steps: Sequence[int], branches: Sequence[int]
) -> EditCrossMap:
    """The rule that carries out an edit of maps in some layers."""
    return EditCrossMap(
        layers=layers, steps=steps, branches=branches, edit=edit, weights=edit.weights
    )


def _left(layer: Layer, stored: Layers) -> bool:
    """Whether a layer of cross-attention is not among those whose maps are stored."""
    return layer.kind == "cross" and not stored(layer)


def _cross_edit(
    request: EditRequest,
    source: str,
    settings: Sequence[Setting],
    branches: Sequence[int],
    options: Options,
) -> CrossEdit:
    """The tensors of the edits of some branches, all of one kind."""
    device, ranges = request.latents.device, texts(request)
    chosen, there = [settings[b - 1] for b in branches], carried_out(request)
    alphas = [injected(ranges, [source, s.prompt], len(there), s.tau) for s in chosen]
    before = alphas[0].new_zeros(there.start, *alphas[0].shape[1:])
    equalizers = [weights(ranges, s.prompt, s.weights) for s in chosen]
    replace = refine = None
    if chosen[0].kind == "swap":
        mappers = [replacement(ranges, source, s.prompt, options.profile) for s in chosen]
        replace = torch.stack(mappers).to(device)
        if (replace == torch.eye(replace.shape[-1], device=device)).all():
            replace = None
    else:
        pairs = [refinement(ranges, source, s.prompt) for s in chosen]
        refine = (
            torch.stack([mapper for mapper, _ in pairs]).to(device),
            torch.stack([kept for _, kept in pairs]).to(device),
        )
    return CrossEdit(
        torch.cat([torch.cat([before, each]) for each in alphas], 1).to(device),
        {branch: row for row, branch in enumerate(branches)},
        torch.cat(equalizers).to(device) if any(s.weights for s in chosen) else None,
        replace,
        refine,
    )
