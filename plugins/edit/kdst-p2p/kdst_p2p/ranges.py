"""Alignment, schedule and weights over all ranges of the text that attention sees.

A model with several text encoders has the tokens of a prompt several times, one range a tokenizer. Each
range is aligned by itself; no token takes attention from another range.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kdst_edit.families.conditioning import TokenRange
from kdst_p2p.alignment import Profile, refine_mapper, replace_mapper, word_indices
from kdst_p2p.schedule import DEFAULT, Window, cross_alphas, equalizer

Ranges = Sequence[TokenRange]


def replacement(ranges: Ranges, source: str, target: str, profile: Profile) -> Tensor:
    """Return the mapper (T, T) of a word swap; where no word is, tokens take what they are."""
    parts = [
        torch.eye(r.length)
        if r.tokenizer is None
        else replace_mapper(source, target, r.tokenizer, r.length, profile=profile)
        for r in ranges
    ]
    return torch.block_diag(*parts)


def refinement(ranges: Ranges, source: str, target: str) -> tuple[Tensor, Tensor]:
    """Return the mapper (T,) and alphas (T,) of added words."""
    mappers, alphas = [], []
    for r in ranges:
        if r.tokenizer is None:
            mapper, kept = torch.arange(r.length), torch.ones(r.length)
        else:
            mapper, kept = refine_mapper(source, target, r.tokenizer, r.length)
        mappers.append(torch.where(mapper < 0, mapper, mapper + r.start))
        alphas.append(kept)
    return torch.cat(mappers), torch.cat(alphas)


def injected(
    ranges: Ranges, prompts: Sequence[str], num_steps: int, tau: Mapping[str, Window]
) -> Tensor:
    """Return whether (N + 1, B - 1, 1, 1, T) the source's attention is injected."""
    parts = []
    for r in ranges:
        windows = tau if r.tokenizer is not None else {DEFAULT: tau[DEFAULT]}
        parts.append(cross_alphas(prompts, num_steps, windows, r.tokenizer, r.length))
    return torch.cat(parts, -1)


def weights(ranges: Ranges, text: str, values: Mapping[str, float]) -> Tensor:
    """Return the weight c (1, T) of each token's attention."""
    parts = [
        equalizer(text, list(given), list(given.values()), r.tokenizer, r.length)
        for r in ranges
        for given in ({} if r.tokenizer is None else values,)
    ]
    return torch.cat(parts, -1)


def indices(ranges: Ranges, text: str, word: str) -> list[int]:
    """Return the positions of a word's tokens."""
    return [
        r.start + position
        for r in ranges
        if r.tokenizer is not None
        for position in word_indices(text, word, r.tokenizer)
    ]
