"""Sums as people and models write them, in the signs of the calculator's grammar."""

import re
import unicodedata

from kdst_tools.calls.visible import obeyed

_SIGNS = str.maketrans(
    dict.fromkeys("×·∙⋅⨯✕✖∗", "*")
    | dict.fromkeys("÷∕⁄➗", "/")
    | dict.fromkeys("−–—‐‑‒➖", "-")
    | {"➕": "+"}
    | dict.fromkeys("[{", "(")
    | dict.fromkeys("]}", ")")
)


def _word(spelling: str) -> re.Pattern[str]:
    """What finds a word, or one of several, in small and capital letters."""
    return re.compile(rf"\b(?:{spelling})\b", re.IGNORECASE)


_WORDS = (
    (_word("plus"), "+"),
    (_word("minus"), "-"),
    (_word("times|multiplied by"), "*"),
    (_word("divided by"), "/"),
    (_word("squared"), "^2"),
    (_word("cubed"), "^3"),
    (_word("to the power of"), "^"),
    (_word("usd|eur|gbp|chf|jpy|inr|dollars?|euros?"), " "),
)
_TIMES = re.compile(r"(?<=[0-9.)%\s])[xX](?=[\s(0-9.])")
_PER_CENT = r"\b(?:per\s?cent|pct)\b"
_SHARE = re.compile(rf"(?:%|{_PER_CENT})\s+of\b", re.IGNORECASE)
_OFF = re.compile(rf"([0-9.]+)\s*(?:%|{_PER_CENT})\s+off\b(?:\s+of\b)?", re.IGNORECASE)
_PARTS = {"half": "1/2", "third": "1/3", "quarter": "1/4", "fifth": "1/5", "tenth": "1/10"}
_PART = re.compile(
    rf"\b(?:(?:an?|one|the)\s+)?({'|'.join(_PARTS)})(?:\s+of\b|(?=\s+[0-9.(]))", re.IGNORECASE
)
_FRACTION = re.compile(
    r"(?<![0-9.)/*^]\s)(?<![0-9.)/*^,])([0-9]+\s?/\s?[0-9]+|\([0-9]+/[0-9]+\))\s+of\b"
)
_TWICE = re.compile(r"\b(?:twice|double)\s+(?=[0-9.(])", re.IGNORECASE)
_PERCENT = re.compile(rf"(?<=[0-9)])\s*{_PER_CENT}", re.IGNORECASE)
_LARGE = {"thousand": "e3", "million": "e6", "billion": "e9", "trillion": "e12"}
_COUNTED = re.compile(rf"(?<=[0-9])\s?({'|'.join(_LARGE)})\b", re.IGNORECASE)
_DOLLARS = re.compile(r"\b(?:US|AU?|CA?|HK|NZ|S)(?=\$\s?[0-9.])")
_HEXADECIMAL = re.compile(r"\b0x[0-9a-f]", re.IGNORECASE)
_ASKED = re.compile(r"\s*(?:=\s*\??|\?)\s*$|^\s*=")
_THOUSANDS = re.compile(r"(?<=[0-9])[\u00a0\u2009\u202f'’_](?=[0-9]{3}(?![0-9]))")
_GROUPS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?: [0-9]{3})+(?![0-9])")
_MIXED = re.compile(r"([0-9]+)\s?([¼-¾⅐-⅞])")
_RAISED = re.compile(r"(?<=[0-9)])(⁻?)([⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_MIXED_PARTS = re.compile(r"(?<![0-9.,/])([0-9]+) ([0-9]+)/([0-9]+)(?![0-9.,/])")
_BESIDE = re.compile(r"(?<=[0-9)])\s?(?=\()|(?<=\))\s?(?=[0-9.])")
"""Where a product has no sign: `2(3 + 4)`."""


def spelt(expression: str) -> str:
    """Return a sum in ASCII digits and signs; ValueError for a hexadecimal number.

    Read are digits of any script, currencies in front of a number or behind it, other signs of
    multiplication, division and minus, `x`, words for operations, brackets of any kind, `2(3 + 4)` where
    nothing is divided, `5% of 200`, `20% off 50`, `half of 10`, `2/3 of 9`, `twice 4`, superscripts,
    `½`, `2 1/2`, `3 million`, spaces and apostrophes between thousands, `=` and `?` at the end.
    """
    text = _MIXED.sub(r"(\1+\2)", _RAISED.sub(_power, expression))
    text = _THOUSANDS.sub("", _DOLLARS.sub("", text))
    text = "".join(map(_character, text)).translate(_SIGNS)
    text = _GROUPS.sub(lambda found: found[0].replace(" ", ""), text)
    text = _MIXED_PARTS.sub(_mixed, _ASKED.sub("", text))
    text = _COUNTED.sub(lambda found: _LARGE[found[1].lower()], text)
    if found := _HEXADECIMAL.search(text):
        raise ValueError(f"cannot read {found[0]!r}")
    for word, sign in _WORDS:
        text = word.sub(sign, text)
    text = _PART.sub(lambda found: f"({_PARTS[found[1].lower()]}) *", text)
    text = _TWICE.sub("2 * ", _FRACTION.sub(r"(\1) *", text))
    text = _OFF.sub(r"(1 - \1%) *", text)
    text = _TIMES.sub("*", _PERCENT.sub("%", _SHARE.sub("% *", text)))
    return text if "/" in text else _BESIDE.sub("*", text)


def _power(found: re.Match[str]) -> str:
    """Superscripts as an exponent."""
    sign = "-" if found[1] else ""
    return f"^{sign}{''.join(str(unicodedata.digit(c)) for c in found[2])}"


def _mixed(found: re.Match[str]) -> str:
    """A whole number and a fraction below 1 as their sum; what is none of these as it stands."""
    whole, part, of = found.groups()
    return f"({whole}+{part}/{of})" if int(part) < int(of) else found[0]


def _character(character: str) -> str:
    """One character: a digit of any script in ASCII, a currency as a space, a fraction in brackets."""
    if character < "\x80":
        return " " if character == "$" else character
    if obeyed(character):
        return ""
    digit, kind = unicodedata.decimal(character, None), unicodedata.category(character)
    if digit is not None:
        return str(digit)
    if kind == "Sc":
        return " "
    if kind == "No" and (parts := unicodedata.normalize("NFKC", character).split("⁄"))[1:]:
        return f"({'/'.join(parts)})"
    plain = unicodedata.normalize("NFKC", character)
    full_width = unicodedata.east_asian_width(character) == "F" or character.isspace()
    return plain if full_width else character
