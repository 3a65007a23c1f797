"""The algorithm of SEGA (Brack et al., NeurIPS 2023, algorithm 1), as a rule between DDIM steps.

A step of DDIM is linear in the noise estimate: z_{t-1} = a z_t + b ε. So every estimate that the paper
adds up is a branch of its own, stepped from the latents of the edit, and differences of stepped
latents are b times differences of estimates.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from attrs import define, field
from torch import Tensor

from kdst_core.contracts import Edit, EditedImage, EditRequest, RunServices
from kdst_edit.control.session import Rule
from kdst_edit.kit import (
    attention_of,
    carried_out,
    resets,
    sample_request,
    source_branch,
    word_maps,
)
from kdst_edit.models.latents import decode, latent_factor
from kdst_edit.sampling.sample import Branch
from kdst_sega.steps import step_sizes

if TYPE_CHECKING:
    from kdst_sega import Options


@define(eq=False, kw_only=True)
class SemanticGuidance(Rule):
    """Moves one edit along its concepts.

    edit, unconditional: branches of the edit and of the negative prompt. concepts: branch to the sign
    of its direction. sizes: b of each step. begin: the first step that is guided (δ).
    """

    edit: int
    unconditional: int
    concepts: Mapping[int, float]
    options: "Options"
    sizes: Sequence[float]
    begin: int
    momentum: Tensor | float = field(default=0.0, init=False)

    def after_step(self, step: int, latents: Tensor) -> Tensor:
        """Return the latents (B, C, h, w) with guidance; the concepts start anew from the edit."""
        o, size = self.options, self.sizes[step]
        gamma = o.momentum_scale * torch.as_tensor(self.momentum).to(latents)
        for branch, sign in self.concepts.items():
            psi = sign * (latents[branch] - latents[self.unconditional]) / size
            gamma = gamma + o.scale * above_percentile(psi, o.threshold)
        self.momentum = o.momentum_beta * self.momentum + (1 - o.momentum_beta) * gamma
        latents = latents.clone()
        if step >= self.begin:
            latents[self.edit] += size * gamma
        latents[[self.unconditional, *self.concepts]] = latents[self.edit].clone()
        self.fired += 1
        return latents


def above_percentile(psi: Tensor, threshold: float) -> Tensor:
    """Return ψ (C, h, w) where |ψ| is at least its λ-th percentile, 0 elsewhere (equation 6)."""
    size = psi.abs()
    return torch.where(size >= size.quantile(threshold), psi, 0)


def concepts(source: str, target: str, kind: str) -> dict[str, float]:
    """Return each concept with the sign of its direction; none where both prompts are one."""
    if kind == "prompt":
        return {} if source == target else {target: 1.0, source: -1.0}
    old, new = source.split(), target.split()
    added = " ".join(word for word in new if word not in old)
    dropped = " ".join(word for word in old if word not in new)
    return {text: sign for text, sign in ((added, 1.0), (dropped, -1.0)) if text}


def edit_by_concepts(request: EditRequest, options: "Options", run: RunServices) -> Edit:
    """Sample the source and, from the same noise and prompt, one guided edit a target."""
    branches, rules, edits = [source_branch(request)], list[Rule](), list[int]()
    sizes, there = step_sizes(request), carried_out(request)
    for target in request.targets:
        edits.append(len(branches))
        prompt, negative = request.source_prompt, request.negative_prompt
        branches.append(Branch(prompt, negative, request.guidance))
        found = concepts(prompt, target, options.concept)
        if not found:
            continue
        first = len(branches)
        branches += [Branch(text, guidance=1.0) for text in (negative, *found)]
        rules.append(
            SemanticGuidance(
                edit=edits[-1],
                unconditional=first,
                concepts={first + 1 + i: sign for i, sign in enumerate(found.values())},
                options=options,
                sizes=sizes,
                begin=there.start + round(options.warmup * len(there)),
            )
        )
    words = word_maps(request, [branch.prompt for branch in branches])
    latents = sample_request(request, branches, [*rules, words, *resets(request)], run)
    images = decode(request.pipeline, latents[[0, *edits]])
    maps = [attention_of(request, words, row, branches[row].prompt) for row in (0, *edits)]
    edited = [
        EditedImage(image, target, None, found)
        for image, target, found in zip(images[1:], request.targets, maps[1:], strict=True)
    ]
    return Edit(edited, images[0], maps[0], warnings=_without_claim(request))


def _without_claim(request: EditRequest) -> list[str]:
    """A sentence on models whose latents are pixels, where the paper's claim was not found."""
    if latent_factor(request.pipeline) > 1:
        return []
    return [
        "The latents of this model are its pixels, so sparse guidance leaves speckles that no autoencoder"
        " smooths: measured on the embedded one, sega kept the rest of the picture worse than sampling"
        " without control."
    ]
