"""Calls as text: ` [Calculator(400 / 1400) -> 0.29]`, in texts whose own brackets are escaped.

A text with calls is escaped plain text with calls between its characters, each with one space before
it that belongs to the call. So the plain text comes back exactly, whatever it holds.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

from attrs import frozen

from kdst_tools.calls.visible import stripped

START, ARROW, END = " [", " ->", "]"

_SPECIAL = re.compile(r"\[|\]|->|&(?=(?:#91|#93|gt|amp);|(?:#(?:9[13]?)?|gt?|a(?:mp?)?)?\Z)")
_ESCAPES = {"[": "&#91;", "]": "&#93;", "->": "-&gt;", "&": "&amp;"}
_ENTITY = re.compile(r"&(#91|#93|gt|amp);")
_CHARACTERS = {"#91": "[", "#93": "]", "gt": ">", "amp": "&"}
_CALL = re.compile(r" \[(\w+)\(([^\[\]]*?)\)(?: -> ([^\[\]]*))?\]")
_BODY = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_API = re.compile(r"\[|\]|->")


@frozen
class WrittenCall:
    """A call found in a text; result None where it stands without one. Both are plain text."""

    tool: str
    input: str
    result: str | None = None

    @property
    def written(self) -> str:
        """The call as text."""
        return write(self.tool, self.input, self.result)


def escape(text: str) -> str:
    """Return a text without `[`, `]` and `->`, as entities; `unescape` gives the same text back.

    So it does where another escaped text follows: an `&` at the end cannot begin an entity with it.
    """
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], text)


def unescape(text: str) -> str:
    """Return the plain text of an escaped one."""
    return _ENTITY.sub(lambda found: _CHARACTERS[found[1]], text)


def write(tool: str, input: str, result: str | None = None) -> str:
    """Return a call as text, with the space before it; input and result are escaped."""
    answer = "" if result is None else f"{ARROW} {escape(result)}"
    return f"{START}{tool}({escape(input)}){answer}{END}"


def read_body(body: str) -> WrittenCall | None:
    """Return the call `Name(input)` that a model wrote after `[`, or None where it wrote no call."""
    found = _BODY.fullmatch(body)
    if found is None or _API.search(body):
        return None
    return WrittenCall(found[1], unescape(found[2].strip()))


def pieces(annotated: str) -> Iterator[str | WrittenCall]:
    """Yield the escaped plain pieces and the calls of a text, in order; empty pieces are left out."""
    done = 0
    for found in _CALL.finditer(annotated):
        if found.start() > done:
            yield annotated[done : found.start()]
        tool, input, result = found.groups()
        yield WrittenCall(tool, unescape(input), None if result is None else unescape(result))
        done = found.end()
    if done < len(annotated):
        yield annotated[done:]


def plain(annotated: str) -> str:
    """Return the plain text of a text with calls."""
    return unescape("".join(p for p in pieces(annotated) if isinstance(p, str)))


def between(annotated: str) -> tuple[list[str], list[WrittenCall]]:
    """Return the plain texts around the calls of a text, one more than calls, and the calls.

    Together the texts are the plain text; a call inside an entity stands before it.
    """
    escaped, places, found = "", list[int](), list[WrittenCall]()
    for piece in pieces(annotated):
        if isinstance(piece, str):
            escaped += piece
        else:
            places.append(len(escaped))
            found.append(piece)
    for entity in _ENTITY.finditer(escaped):
        first, last = entity.span()
        places = [first if first < place < last else place for place in places]
    ends = pairwise([0, *places, len(escaped)])
    return [unescape(escaped[start:stop]) for start, stop in ends], found


def clean(result: str) -> str:
    """Return a tool's answer as one line without API tokens, so that no tool can write a call.

    Nor can it write escape sequences and other characters that terminals and pages obey.
    """
    text = " ".join(stripped(result).split())
    while _API.search(text):
        text = " ".join(_API.sub(" ", text).split())
    return text
