"""Guidance of LEDITS++: what an edit adds to the noise estimate, and the masks M1 and M2.

Brack et al. (2024), sections on textual editing and semantic grounding: γ = s_e M1 M2 ψ, and ψ is the
conditioned estimate minus the unconditional one, negative for what is removed.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from kdst_ledits_pp.concepts import Concept

Mask = Literal["intersect", "attention", "noise", "none"]
LATE = 800
"""The timestep, of 1,000, from which on the authors' code lets M2 act."""


def psi(estimate: Tensor, unconditional: Tensor, concept: Concept) -> Tensor:
    """Return ψ (C, h, w), the direction of an edit."""
    return concept.sign * (estimate - unconditional)


def attention_mask(maps: Tensor, threshold: float, size: tuple[int, int]) -> Tensor:
    """Return M1 (h, w): 1 where an edit's words attend most.

    maps: (h', w'), the sum over the words' tokens; it is smoothed before the λ-th percentile is taken.
    """
    wide = F.pad(maps[None, None], (1, 1, 1, 1), mode="reflect")
    smooth = F.conv2d(wide, kernel().to(maps))[0, 0]
    mask = (smooth >= smooth.quantile(threshold)).to(maps)
    return F.interpolate(mask[None, None], size=size)[0, 0]


def kernel() -> Tensor:
    """Return the smoothing (1, 1, 3, 3) of the authors' code: exp(-(d / 2σ)²) with σ = .5, sum 1."""
    line = torch.tensor(
        [math.exp(-((d / (2 * 0.5)) ** 2)) for d in (-1, 0, 1)], dtype=torch.float64
    )
    square = line[:, None] * line[None]
    return (square / square.sum())[None, None]


def noise_mask(direction: Tensor, threshold: float) -> Tensor:
    """Return M2 (h, w): 1 where |ψ|, summed over channels, is at least its λ-th percentile."""
    size = direction.abs().sum(0)
    return (size >= size.quantile(threshold)).to(direction)


def masked(direction: Tensor, maps: Tensor | None, concept: Concept, kind: Mask) -> Tensor:
    """Return the mask (h, w) of an edit: M1, M2, both, or 1 everywhere."""
    height, width = direction.shape[-2:]
    mask = torch.ones_like(direction[0])
    if kind in ("intersect", "attention"):
        assert maps is not None
        mask = mask * attention_mask(maps.to(direction), concept.threshold, (height, width))
    if kind in ("intersect", "noise"):
        mask = mask * noise_mask(direction, concept.threshold)
    return mask


def kind_at(kind: Mask, timestep: int, levels: int, published: bool) -> Mask:
    """Return which masks act at a timestep: as published, no M2 beside M1 where there is most noise."""
    early = timestep > LATE * levels / 1000
    return "attention" if published and kind == "intersect" and early else kind
