"""Which tokens of a prompt belong to which of its words."""

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdst_core.errors import KdstError

if TYPE_CHECKING:
    from kdst_edit.families.conditioning import TokenRange


def split(prompt: str) -> list[str]:
    """The words of a prompt: what is between spaces, punctuation included."""
    return prompt.split()


def bare(word: str) -> str:
    """A word without case and without the punctuation around it; itself where nothing else is left."""
    start, end = _inner(word, 0, len(word))
    return unicodedata.normalize("NFC", word[start:end]).casefold()


def find(prompt: str, name: str) -> list[int]:
    """Which words of a prompt, from 0, a name means: `cat` all of them, `cat#2` the second one."""
    words = [bare(word) for word in split(prompt)]
    found = [i for i, word in enumerate(words) if word == bare(name)]
    base, _, number = name.rpartition("#")
    if found or not base or not number.isdecimal():
        return found
    found = [i for i, word in enumerate(words) if word == bare(base)]
    return found[int(number) - 1 : int(number)] if int(number) else []


def unknown_words(tokenizer: Any, prompt: str) -> list[str]:
    """The words of a prompt that the tokenizer reads as its token for unknown words."""
    ids, unknown = token_ids(tokenizer, prompt), tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id:
        return []
    words = zip(split(prompt), positions(tokenizer, prompt), strict=True)
    return [word for word, at in words if any(ids[p] == unknown for p in at)]


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


def positions(tokenizer: Any, prompt: str, *, punctuation: bool = True) -> list[list[int]]:
    """For each word of a prompt, the positions of its tokens, counted with the begin token as 0.

    punctuation: with the tokens of the punctuation around a word.
    """
    encoded = tokenizer(prompt, return_offsets_mapping=True)
    spans = _spans(prompt) if punctuation else [_inner(prompt, *span) for span in _spans(prompt)]
    found: list[list[int]] = [[] for _ in spans]
    for at, (start, end) in enumerate(encoded.offset_mapping):
        for word, (first, last) in enumerate(spans):
            if start < end and first < end and start < last:
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


def _inner(prompt: str, start: int, end: int) -> tuple[int, int]:
    """A word's start and end without the punctuation around it."""
    at = [i for i in range(start, end) if not unicodedata.category(prompt[i]).startswith("P")]
    return (at[0], at[-1] + 1) if at else (start, end)


def all_positions(
    ranges: "Sequence[TokenRange]", prompt: str, *, punctuation: bool = True
) -> list[list[int]]:
    """For each word of a prompt, the positions of its tokens in all ranges of the text."""
    found: list[list[int]] = [[] for _ in split(prompt)]
    for part in ranges:
        if part.tokenizer is not None:
            for at, here in zip(
                found, positions(part.tokenizer, prompt, punctuation=punctuation), strict=True
            ):
                at.extend(part.start + position for position in here)
    return found


def unique_words(ranges: "Sequence[TokenRange]", prompt: str) -> dict[str, Sequence[int]]:
    """Each word of a prompt once, with the positions of all its tokens in all ranges of the text."""
    found: dict[str, list[int]] = {}
    for word, at in zip(split(prompt), all_positions(ranges, prompt), strict=True):
        found.setdefault(word, []).extend(at)
    return {word: at for word, at in found.items() if at}
