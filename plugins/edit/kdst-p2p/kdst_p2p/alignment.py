"""Which source tokens a target's tokens take their attention from (Hertz et al., sections 3.2, 3.3)."""

from typing import Any, Literal

import torch
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit.words import find, positions, split, token_ids

Profile = Literal["corrected", "published"]


def word_indices(text: str, word: str | int, tokenizer: Any) -> list[int]:
    """Positions of the tokens of a word, the begin token being 0.

    word: its name, every occurrence of it (`cat`) or one (`cat#2`), without the punctuation that
    stands at it; or its number, from 0.
    """
    at = positions(tokenizer, text, punctuation=False)
    chosen = [word] if isinstance(word, int) else find(text, word)
    return [position for i in chosen for position in at[i]]


def replace_mapper(
    source: str, target: str, tokenizer: Any, max_tokens: int, *, profile: Profile = "published"
) -> Tensor:
    """For a word swap, how much (T, T) of each source token's attention each target token takes.

    Rows are source tokens, columns target tokens; T is `max_tokens`. A word takes the attention of
    the word in its place, spread evenly where their numbers of tokens differ. After the last swapped
    word the authors' code pairs target position j with source position j; `corrected` pairs equal
    words also where earlier words differ in their numbers of tokens, and gives columns for which no
    source token is left the last one, which is padding.

    Raises KdstError when the prompts have different numbers of words.
    """
    old, new = split(source), split(target)
    if len(old) != len(new):
        raise KdstError(
            f"a swap needs prompts with the same number of words, not {len(old)} and {len(new)}:"
            f" {source!r}, {target!r}.\nUse --kind refine to add or remove words"
        )
    _check_length(tokenizer, (source, target), max_tokens)
    mapper = torch.zeros(max_tokens, max_tokens)
    i = j = 0
    places = zip(positions(tokenizer, source), positions(tokenizer, target), strict=True)
    for before, after, (rows, columns) in zip(old, new, places, strict=True):
        if before == after:
            continue
        _pair(mapper, i, j, rows[0] - i)
        if len(rows) == len(columns):
            mapper[rows, columns] = 1
        else:
            mapper[rows[0] : rows[-1] + 1, columns] = 1 / len(columns)
        i, j = rows[-1] + 1, columns[-1] + 1
    rest = max_tokens - max(i, j)
    _pair(mapper, j if profile == "published" else i, j, rest)
    if profile == "corrected":
        mapper[-1, j + rest :] = 1
    return mapper


def _pair(mapper: Tensor, row: int, column: int, count: int) -> None:
    """Give `count` target tokens from `column` the attention of the source tokens from `row`."""
    steps = torch.arange(count)
    mapper[row + steps, column + steps] = 1


def refine_mapper(
    source: str, target: str, tokenizer: Any, max_tokens: int
) -> tuple[Tensor, Tensor]:
    """For added words, the source token (T,) that each target token is, and whether (T,) it is one.

    A longest common subsequence of both token sequences: Needleman-Wunsch with gap 0, match 1 and
    mismatch -1. New tokens have mapper -1 and alpha 0; padding has alpha 1.
    """
    _check_length(tokenizer, (source, target), max_tokens)
    old, new = token_ids(tokenizer, source), token_ids(tokenizer, target)
    common = _common_lengths(old, new)
    mapper, alphas = torch.arange(max_tokens), torch.ones(max_tokens)
    i, j = len(old), len(new)
    while j:
        new_token = i == 0 or common[i][j] == common[i][j - 1]
        if not new_token and common[i][j] == common[i - 1][j]:
            i -= 1
            continue
        j -= 1
        if new_token:
            mapper[j], alphas[j] = -1, 0
        else:
            i -= 1
            mapper[j] = i
    return mapper, alphas


def _common_lengths(old: list[int], new: list[int]) -> list[list[int]]:
    """Length of the longest common subsequence of every pair of beginnings."""
    table = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i, before in enumerate(old, 1):
        for j, after in enumerate(new, 1):
            table[i][j] = max(
                table[i - 1][j],
                table[i][j - 1],
                table[i - 1][j - 1] + (1 if before == after else -1),
            )
    return table


def _check_length(tokenizer: Any, prompts: tuple[str, ...], max_tokens: int) -> None:
    """Raise KdstError when a prompt has more tokens than there is room for."""
    for prompt in prompts:
        count = len(token_ids(tokenizer, prompt))
        if count > max_tokens:
            raise KdstError(f"the prompt {prompt[:60]!r} has {count} tokens; at most {max_tokens}")
