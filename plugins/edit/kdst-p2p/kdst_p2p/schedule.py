"""When and how strongly words act: tau of every token at every step, and the weights c."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kdst_p2p.alignment import word_indices

DEFAULT = "default_"
Window = float | Sequence[float]
Tau = float | Mapping[str, Window]
"""A share of the steps, or one for each word; the key `default_` stands for all other words."""


def cross_alphas(
    prompts: Sequence[str],
    num_steps: int,
    cross_replace_steps: Tau,
    tokenizer: Any,
    max_tokens: int,
) -> Tensor:
    """Whether (N + 1, B - 1, 1, 1, T) the source's attention is injected, by step, target and token.

    prompts: the source and the targets. A number means from the first step on; a pair is (begin,
    end), both as shares of the steps. Words are those of the targets.
    """
    windows = (
        dict(cross_replace_steps)
        if isinstance(cross_replace_steps, Mapping)
        else {DEFAULT: cross_replace_steps}
    )
    targets = prompts[1:]
    alphas = torch.zeros(num_steps + 1, len(targets), max_tokens)
    alphas[window_steps(windows.pop(DEFAULT), num_steps)] = 1
    for word, window in windows.items():
        for number, target in enumerate(targets):
            at = word_indices(target, word, tokenizer)
            alphas[:, number, at] = 0
            for position in at:
                alphas[window_steps(window, num_steps), number, position] = 1
    return alphas[:, :, None, None]


def window_steps(window: Window, num_steps: int) -> slice:
    """The steps of a window; shares are of N + 1, as in the authors' code."""
    begin, end = (0.0, window) if isinstance(window, int | float) else window
    return slice(int(begin * (num_steps + 1)), int(end * (num_steps + 1)))


def equalizer(
    text: str, words: Sequence[str], values: Sequence[float], tokenizer: Any, max_tokens: int
) -> Tensor:
    """The weight c (1, T) of each token's attention: `values` at the `words`, 1 elsewhere."""
    weights = torch.ones(1, max_tokens)
    for word, value in zip(words, values, strict=True):
        weights[:, word_indices(text, word, tokenizer)] = value
    return weights
