"""Prompt-to-Prompt as rules: cross-attention edited, self-attention copied, edits kept local."""

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from attrs import field, frozen
from torch import Tensor

from kdst_core.contracts import Edit, EditRequest, RunServices
from kdst_edit.kit import aligned_branch, carried_out, edit_with, shares, target_branches
from kdst_edit.layers import Layer, Layers, factors_of, find_layers, map_factor
from kdst_edit.rules import CopyQK, EditCrossMap, Rule, StoreMaps
from kdst_edit.words import split
from kdst_p2p import P2pOptions
from kdst_p2p.alignment import refine_mapper, replace_mapper, word_indices
from kdst_p2p.control import cross_weights, edit_cross
from kdst_p2p.explain import alignments, explanation, no_effect
from kdst_p2p.local_blend import LocalBlend
from kdst_p2p.schedule import cross_alphas, equalizer
from kdst_p2p.settings import Setting, check_words, settings_of
from kdst_p2p.sweep import contact_sheet


def edit_prompt_to_prompt(request: EditRequest, options: P2pOptions, run: RunServices) -> Edit:
    """Edit the source towards each target, all from one noise."""
    source = request.source_prompt
    settings = settings_of(source, request.targets, options)
    rules = rules_of(request, source, settings, options)
    blends = [rule for rule in rules if isinstance(rule, LocalBlend)]
    tokenizer = request.pipeline.tokenizer
    sheet = contact_sheet(request, source, settings[0], options, run, rules_of)
    branches = [aligned_branch(request), *target_branches(request)]
    edit = edit_with(
        request, rules, run, branches=branches, masks=lambda: _shown(blends, len(settings))
    )
    aligned = alignments(source, settings, tokenizer, options)
    return attrs.evolve(
        edit,
        notes=explanation(aligned, settings) if options.explain else (),
        warnings=[
            *edit.warnings,
            *_without_layers(request, options),
            *no_effect(source, settings, tokenizer, len(carried_out(request)), options),
        ],
        alignments=aligned,
        sheets=[sheet] if sheet else (),
    )


def _without_layers(request: EditRequest, options: P2pOptions) -> list[str]:
    """A sentence where no layer is small enough for self-attention to be injected."""
    there = factors_of(request.pipeline.unet, "self")
    if not options.self_tau or max(there, default=0) >= options.self_factor:
        return []
    return [
        f"--self-factor {options.self_factor} has no layer, so self-attention is not injected: this"
        f" model has it at {', '.join(map(str, there))}."
    ]


def _shown(blends: Sequence[LocalBlend], edits: int) -> Tensor | None:
    """The last masks (E, h, w) of all edits; ones for those without LocalBlend."""
    made = {rule.blended[0]: rule.mask for rule in blends if rule.mask is not None}
    if not made:
        return None
    like = next(iter(made.values()))[1, 0].cpu()
    return torch.stack(
        [made[b][1, 0].cpu() if b in made else torch.ones_like(like) for b in range(1, edits + 1)]
    )


def rules_of(
    request: EditRequest, source: str, settings: Sequence[Setting], options: P2pOptions
) -> list[Rule]:
    """The rules of several edits of one source; edit b is branch b, from 1."""
    return [
        *cross_rules(request, source, settings, options),
        *self_rules(request, settings, options),
        *blend_rules(request, source, settings, options),
    ]


@frozen
class CrossEdit:
    """What a rule does with cross-attention maps: the tensors of all edits of one kind, by branch."""

    alphas: Tensor
    rows: dict[int, int]
    equalizer: Tensor | None
    replace: Tensor | None = None
    refine: tuple[Tensor, Tensor] | None = None
    _last: dict[tuple[int, ...], tuple[Tensor, Tensor | None]] = field(factory=dict, init=False)

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
        key = (step, *branches)
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
    request: EditRequest, source: str, settings: Sequence[Setting], options: P2pOptions
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

    Injecting the source's maps as they are, for all tokens, is copying its queries and keys. Layers
    whose maps are stored stay apart, since what is stored is what the network itself attends to.
    """
    active = edit.alphas[:-1].flatten(1).any(1).tolist()
    steps = [step for step in carried_out(request) if active[step]]
    if not steps:
        return []
    if not edit.copies(steps):
        return [_edit_maps(edit, Layers("cross"), steps, branches)]
    stored = _stored_layers(request)
    found: list[EditCrossMap | CopyQK] = [_edit_maps(edit, stored, steps, branches)]
    if any(_left(x, stored) for x in find_layers(request.pipeline.unet)):
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


def _stored_layers(request: EditRequest) -> Layers:
    """The layers whose maps LocalBlend and the report read."""
    height, width = request.latents.shape[-2:]
    factor = map_factor(request.pipeline.unet, (height, width))
    return Layers("cross", ("down", "up"), (factor,))


def _cross_edit(
    request: EditRequest,
    source: str,
    settings: Sequence[Setting],
    branches: Sequence[int],
    options: P2pOptions,
) -> CrossEdit:
    """The tensors of the edits of some branches, all of one kind."""
    tokenizer, device = request.pipeline.tokenizer, request.latents.device
    most, chosen = tokenizer.model_max_length, [settings[b - 1] for b in branches]
    there = carried_out(request)
    alphas = [cross_alphas([source, s.prompt], len(there), s.tau, tokenizer, most) for s in chosen]
    before = alphas[0].new_zeros(there.start, *alphas[0].shape[1:])
    weights = [
        equalizer(s.prompt, list(s.weights), list(s.weights.values()), tokenizer, most)
        for s in chosen
    ]
    replace = refine = None
    if chosen[0].kind == "swap":
        mappers = [
            replace_mapper(source, s.prompt, tokenizer, most, profile=options.profile)
            for s in chosen
        ]
        replace = torch.stack(mappers).to(device)
        if (replace == torch.eye(most, device=device)).all():
            replace = None
    else:
        pairs = [refine_mapper(source, s.prompt, tokenizer, most) for s in chosen]
        refine = (
            torch.stack([mapper for mapper, _ in pairs]).to(device),
            torch.stack([kept for _, kept in pairs]).to(device),
        )
    return CrossEdit(
        torch.cat([torch.cat([before, each]) for each in alphas], 1).to(device),
        {branch: row for row, branch in enumerate(branches)},
        torch.cat(weights).to(device) if any(s.weights for s in chosen) else None,
        replace,
        refine,
    )


def self_rules(
    request: EditRequest, settings: Sequence[Setting], options: P2pOptions
) -> list[Rule]:
    """Self-attention of the source in the first steps, where feature maps are small enough."""
    factors = [f for f in factors_of(request.pipeline.unet, "self") if f >= options.self_factor]
    rules: list[Rule] = []
    for share in sorted({setting.self_tau for setting in settings}):
        steps = shares(request, end=share)
        branches = [b for b, setting in enumerate(settings, 1) if setting.self_tau == share]
        if steps and factors:
            layers = Layers("self", factors=factors)
            rules.append(CopyQK(layers=layers, steps=steps, branches=branches))
    return rules


def blend_rules(
    request: EditRequest, source: str, settings: Sequence[Setting], options: P2pOptions
) -> list[Rule]:
    """LocalBlend for each edit that has words to blend by, with the source's region of these words."""
    if "none" in options.blend:
        return []
    check_words("--subtract", options.subtract, [source, *(s.prompt for s in settings)])
    words = [blend_words(source, setting, options) for setting in settings]
    return [
        _blend(request, [source, settings[branch - 1].prompt], chosen, branch, options)
        for branch, chosen in enumerate(words, 1)
        if chosen
    ]


def _blend(
    request: EditRequest,
    prompts: Sequence[str],
    words: Sequence[str],
    branch: int,
    options: P2pOptions,
) -> LocalBlend:
    """LocalBlend of one edit; prompts are the source's and its own."""
    tokenizer = request.pipeline.tokenizer
    at = [_tokens(prompt, words, tokenizer) for prompt in prompts]
    minus = [_tokens(prompt, options.subtract, tokenizer) for prompt in prompts]
    tokens = sorted({position for row in (*at, *minus) for position in row})
    begin = min(shares(request, begin=options.blend_start).start, request.num_steps - 1)
    published = options.profile == "published"
    store = StoreMaps(
        layers=_stored_layers(request),
        steps=carried_out(request, begin=0 if published else begin),
        tokens=tokens,
        branches=[branch],
        edited=published,
    )
    return LocalBlend(
        store=store,
        steps=carried_out(request, begin=begin),
        words=_one_hot(at, tokens, request.latents),
        subtract=_one_hot(minus, tokens, request.latents) if options.subtract else None,
        threshold=options.blend_threshold,
        subtract_threshold=options.subtract_threshold,
        blended=[branch],
    )


def blend_words(source: str, setting: Setting, options: P2pOptions) -> list[str]:
    """The words, of source and target, whose regions may change in an edit."""
    if options.blend == ["auto"]:
        if setting.kind != "swap":
            return []
        pairs = zip(split(source), split(setting.prompt), strict=True)
        return [word for pair in pairs if pair[0] != pair[1] for word in pair]
    words = [word for word in options.blend if word != "none"]
    check_words("--blend", words, [source, setting.prompt])
    return words


def _tokens(prompt: str, words: Sequence[str], tokenizer: object) -> list[int]:
    """Positions of all tokens of some words of a prompt."""
    return [p for word in dict.fromkeys(words) for p in word_indices(prompt, word, tokenizer)]


def _one_hot(rows: Sequence[Sequence[int]], tokens: Sequence[int], like: Tensor) -> Tensor:
    """Rows (B, K) with one at the positions given, counted in `tokens`."""
    marks = torch.zeros(len(rows), len(tokens), device=like.device)
    for number, positions in enumerate(rows):
        for position in positions:
            marks[number, tokens.index(position)] = 1
    return marks
