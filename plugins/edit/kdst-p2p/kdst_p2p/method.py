"""Prompt-to-Prompt as rules: cross-attention edited, self-attention copied, edits kept local."""

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from kdst_core.contracts import Edit, EditRequest, RunServices
from kdst_edit.control.layers import Layers, factors_of
from kdst_edit.control.rules import CopyQK
from kdst_edit.control.session import Rule
from kdst_edit.families.registry import network_of
from kdst_edit.kit import aligned_branch, carried_out, edit_with, shares, target_branches, texts
from kdst_p2p.control import cross_rules
from kdst_p2p.explain import alignments, explanation, no_effect
from kdst_p2p.local_blend import LocalBlend, blend_rules
from kdst_p2p.options import Options
from kdst_p2p.settings import Setting, settings_of
from kdst_p2p.sweep import contact_sheet


def edit_prompt_to_prompt(request: EditRequest, options: Options, run: RunServices) -> Edit:
    """Edit the source towards each target, all from one noise."""
    source = request.source_prompt
    settings = settings_of(source, request.targets, options)
    rules = rules_of(request, source, settings, options)
    blends = [rule for rule in rules if isinstance(rule, LocalBlend)]
    tokenizer = texts(request)[0].tokenizer
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


def _without_layers(request: EditRequest, options: Options) -> list[str]:
    """A sentence where no layer is small enough for self-attention to be injected."""
    there = factors_of(network_of(request.pipeline), "self")
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
    request: EditRequest, source: str, settings: Sequence[Setting], options: Options
) -> list[Rule]:
    """The rules of several edits of one source; edit b is branch b, from 1."""
    return [
        *cross_rules(request, source, settings, options),
        *self_rules(request, settings, options),
        *blend_rules(request, source, settings, options),
    ]


def self_rules(request: EditRequest, settings: Sequence[Setting], options: Options) -> list[Rule]:
    """Self-attention of the source in the first steps, where feature maps are small enough."""
    factors = [
        f for f in factors_of(network_of(request.pipeline), "self") if f >= options.self_factor
    ]
    rules: list[Rule] = []
    for share in sorted({setting.self_tau for setting in settings}):
        steps = shares(request, end=share)
        branches = [b for b, setting in enumerate(settings, 1) if setting.self_tau == share]
        if steps and factors:
            layers = Layers("self", factors=factors)
            rules.append(CopyQK(layers=layers, steps=steps, branches=branches))
    return rules
