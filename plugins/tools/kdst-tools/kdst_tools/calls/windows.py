"""Texts longer than a model's context are read in overlapping windows; every token is read."""

from collections.abc import Iterator, Sequence

from attrs import frozen

from kdst_core.contracts import Document
from kdst_tools.calls import escape
from kdst_tools.calls.tokens import CallTokens

HORIZON = 5
"""Tokens after a call that its loss looks at (the weights w_t are zero beyond)."""


@frozen
class Window:
    """A part of a text that fits the context.

    ids: its tokens. text: escaped. start: index of the first token in the document. positions:
    indices into `ids` before which a call may stand; those of all windows together are those of the
    document, each once.
    offsets: characters of the escaped text before each token.
    """

    document: Document
    ids: list[int]
    text: str
    start: int
    positions: Sequence[int]
    offsets: Sequence[int]


def windows(document: Document, tokens: CallTokens, size: int) -> Iterator[Window]:
    """Yield the windows of a document, each at most `size` tokens.

    A later window begins with a quarter of context that it only reads, and an earlier one ends with
    the tokens that the loss of its last position looks at.
    """
    text = escape(document.text)
    encoded = tokens.encode(text)
    ends = [0, *encoded.ends]
    count, left = len(encoded.ids), size // 4
    start = first = 0
    while start < count:
        stop = min(start + size, count)
        last = count if stop == count else stop - HORIZON
        allowed = [i - start for i in range(first, last) if encoded.offsets[i] >= 0]
        yield Window(
            document,
            encoded.ids[start:stop],
            text[ends[start] : ends[stop]],
            start,
            allowed,
            encoded.offsets[start:stop],
        )
        if stop == count:
            return
        first, start = last, max(last - left, start + 1)
