"""Characters that a reader does not see but a terminal or a page obeys: taken out, or shown."""

import re
import unicodedata

_SEQUENCE = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[PX^_][^\x1b]*\x1b\\|(?:\x1b\[?|\x9b)[0-?]*[ -/]*[@-~]"
)
"""Escape sequences of terminals: titles and links, colours and moves, device strings."""
_JOINERS = "\u200c\u200d"
"""Format characters that spelling needs, in Persian and in joined emoji."""


def obeyed(character: str) -> bool:
    """Return whether a character is a control, a mark of direction, or half of a surrogate pair."""
    if character in _JOINERS:
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Cs")


def stripped(text: str) -> str:
    """Return a text without escape sequences and such characters; white space becomes a space."""
    text = _SEQUENCE.sub("", text)
    return "".join(" " if c.isspace() else c for c in text if c.isspace() or not obeyed(c))


def visible(text: str) -> str:
    r"""Return a text in which such characters are written out, as `\x1b`; line breaks and tabs stay."""
    return "".join(_written(c) if obeyed(c) and c not in "\n\t" else c for c in text)


def _written(character: str) -> str:
    """Return a character as an escape."""
    code = ord(character)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )
