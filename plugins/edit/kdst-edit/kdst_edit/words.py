"""Which tokens of a prompt belong to which of its words."""

from collections.abc import Sequence
from typing import Any

from kdst_core.errors import KdstError


def split(prompt: str) -> list[str]:
    """The words of a prompt: what is between spaces, punctuation included."""
    return prompt.split()


def token_ids(tokenizer: Any, prompt: str) -> list[int]:
    """The ids of a prompt, begin and end included, without padding.

    Raises KdstError when there are more than the tokenizer allows.
    """
    ids: list[int] = tokenizer(prompt).input_ids
    if len(ids) > tokenizer.model_max_length:
        raise KdstError(
            f"the prompt {prompt[:60]!r} has {len(ids)} tokens, begin and end included; this model"
            f" takes at most {tokenizer.model_max_length}. Shorten it"
        )
    return ids


def token_texts(tokenizer: Any, prompt: str) -> list[str]:
    """The text of every token of a prompt, begin and end included."""
    return [tokenizer.decode([i]).strip() or "·" for i in token_ids(tokenizer, prompt)]


def positions(tokenizer: Any, prompt: str) -> list[list[int]]:
    """For each word of a prompt, the positions of its tokens, counted with the begin token as 0."""
    encoded = tokenizer(prompt, return_offsets_mapping=True)
    spans = _spans(prompt)
    found: list[list[int]] = [[] for _ in spans]
    for at, (start, end) in enumerate(encoded.offset_mapping):
        for word, (first, last) in enumerate(spans):
            if start < end and first <= start < last:
                found[word].append(at)
    return found


def _spans(prompt: str) -> list[tuple[int, int]]:
    """Start and end of each word in the text."""
    spans, at = [], 0
    for word in split(prompt):
        at = prompt.index(word, at)
        spans.append((at, at + len(word)))
        at += len(word)
    return spans


def unique_words(tokenizer: Any, prompt: str) -> dict[str, Sequence[int]]:
    """Each word of a prompt once, with the positions of all its tokens."""
    found: dict[str, list[int]] = {}
    for word, at in zip(split(prompt), positions(tokenizer, prompt), strict=True):
        found.setdefault(word, []).extend(at)
    return {word: at for word, at in found.items() if at}
