"""Calls as tokens: where a call may stand in a text, and the tokens that write it."""

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from kdst_core.errors import KdstError
from kdst_tools import calls
from kdst_tools.calls.begin import Begin, begin_tokens

ANCHOR = "a"
"""A letter in front of what is encoded, so that tokens are those inside a text, not at its start."""


@frozen
class Encoded:
    """ids: tokens of an escaped text. offsets: characters before each token, the space before a word
    belonging to the word; −1 where a token begins inside a character and no call can stand. ends:
    characters up to the end of each token."""

    ids: list[int]
    offsets: list[int]
    ends: list[int]


class CallTokens:
    """The tokens of calls for one tokenizer; works with those that have a token ` [` and others.

    Calls are encoded in pieces (` [Name(input)`, ` ->`, ` result]`), the pieces that a model writes or
    is given one after the other.
    """

    def __init__(self, tokenizer: Any, begin: Begin = "auto") -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise KdstError("tool calls need a fast tokenizer of transformers (tokenizer.json)")
        self.tokenizer = tokenizer
        self.start, self.start_id = self._find_start()
        self.arrow = self._inside(calls.ARROW)
        self.end = self._inside(calls.END)
        self.prefix = begin_tokens(tokenizer, begin, ANCHOR)
        self.eos: int | None = tokenizer.eos_token_id
        self._require_calls()

    def _require_calls(self) -> None:
        """Raise KdstError for a tokenizer that does not give a call back as it was written."""
        wanted = calls.write("Calculator", "1 + 2", "3").strip()
        found = self.decode(self.call("Calculator", "1 + 2", "3")).strip()
        if found != wanted:
            raise KdstError(
                f"this tokenizer turns the call {wanted} into {found}, so no call could be read back.\n"
                "Use a model whose tokenizer keeps capitals and spaces and knows ] and ->"
            )

    def _find_start(self) -> tuple[str, int]:
        """The text of the token that begins a call: ` [` where that is one token, or else `[`."""
        for start in (calls.START, calls.START.strip()):
            ids = self._inside(start)
            if len(ids) == 1 and self.tokenizer.decode(ids).strip() == "[":
                return start, ids[0]
        raise KdstError("this tokenizer has no token for '[', with which calls begin")

    def _ids(self, text: str) -> list[int]:
        """Tokens of a text, none of them special: what spells a special one is split as other text."""
        found = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        return list(found["input_ids"])

    def _inside(self, text: str) -> list[int]:
        """Tokens of a piece of text in the middle of a text."""
        anchor, both = self._ids(ANCHOR), self._ids(ANCHOR + text)
        return both[len(anchor) :] if both[: len(anchor)] == anchor else self._ids(text)

    def encode(self, escaped: str) -> Encoded:
        """Return the tokens of an escaped text and where calls may stand in it."""
        found = self.tokenizer(
            escaped,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        offsets, ends = [], [0]
        for first, last in found["offset_mapping"]:
            offsets.append(ends[-1] if first >= ends[-1] else -1)
            ends.append(max(ends[-1], last))
        return Encoded(list(found["input_ids"]), offsets, ends[1:])

    def piece(self, escaped: str, first: bool) -> list[int]:
        """Tokens of an escaped piece of text: the first of a text, or one inside it."""
        return self._ids(escaped) if first else self._inside(escaped)

    def head(self, tool: str, input: str) -> list[int]:
        """Tokens of ` [Name(input)`, of which the first is the one that begins a call."""
        behind = f"{tool}({calls.escape(input)})"
        whole = self._inside(f"{self.start}{behind}")
        return whole if whole[:1] == [self.start_id] else [self.start_id, *self._inside(behind)]

    def result(self, result: str) -> list[int]:
        """Tokens of ` result]`."""
        return self._inside(f" {calls.escape(result)}{calls.END}")

    def call(self, tool: str, input: str, result: str | None = None) -> list[int]:
        """Tokens of a call, with its result or without."""
        if result is None:
            return self.head(tool, input) + self.end
        return self.head(tool, input) + self.arrow + self.result(result)

    def annotated(self, text: str) -> list[int]:
        """Tokens of a text with calls: those of the plain text where calls stand between tokens."""
        inserts: list[tuple[int, list[int]]] = []
        plain = ""
        for piece in calls.pieces(text):
            if isinstance(piece, str):
                plain += piece
            else:
                inserts.append((len(plain), self.call(piece.tool, piece.input, piece.result)))
        return self._splice(plain, inserts)

    def _splice(self, plain: str, inserts: Sequence[tuple[int, list[int]]]) -> list[int]:
        """Tokens of an escaped text with tokens put in at characters."""
        encoded = self.encode(plain)
        where = {offset: i for i, offset in reversed(list(enumerate(encoded.offsets)))}
        where[len(plain)] = len(encoded.ids)
        if any(offset not in where for offset, _ in inserts):
            return self._in_parts(plain, inserts)
        ids, done = [], 0
        for offset, call in inserts:
            ids += encoded.ids[done : where[offset]] + call
            done = where[offset]
        return ids + encoded.ids[done:]

    def _in_parts(self, plain: str, inserts: Sequence[tuple[int, list[int]]]) -> list[int]:
        """The same where a call stands inside a token: the text on its two sides is encoded apart."""
        ids, done = [], 0
        for offset, call in inserts:
            part = plain[done:offset]
            ids += (self._inside(part) if done else self._ids(part)) + call
            done = offset
        return ids + (self._inside(plain[done:]) if done else self._ids(plain[done:]))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens in the middle of a text; of special ones only the end is left out."""
        anchor = self._ids(ANCHOR)
        text = self.tokenizer.decode(
            [*anchor, *(i for i in ids if i != self.eos)],
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
        )
        return str(text)[len(self.tokenizer.decode(anchor)) :]
