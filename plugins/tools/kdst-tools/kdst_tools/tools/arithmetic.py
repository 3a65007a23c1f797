"""Exact arithmetic on text: a grammar of numbers, + − × ÷, powers, brackets and percentages.

Nothing is handed to Python's own evaluation. Every step is capped, so that no input is slow.
"""

import re
from collections.abc import Iterator
from fractions import Fraction

from attrs import frozen

from kdst_tools.tools.spellings import spelt

MAX_INPUT = 200
"""Characters of an expression."""
MAX_DIGITS = 30
"""Digits of a number as written, before and after the point together."""
MAX_BITS = 1024
"""Bits of numerator and denominator of every number on the way."""
MAX_EXPONENT = 100
MAX_DEPTH = 32
"""Brackets and signs inside one another."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:[0-9]{1,3}(?:,[0-9]{2})*(?:,[0-9]{3})+(?:\.[0-9]+)?(?![0-9,])|[0-9]+\.?[0-9]*|\.[0-9]+)"
    r"(?:[eE][-+]?[0-9]{1,3}(?![0-9]))?)"
    r"|(?P<sign>\*\*|[-+*/^()%]))"
)


@frozen
class Token:
    """kind: number, sign or end. text: as written."""

    kind: str
    text: str


def evaluate(expression: str) -> Fraction:
    """Return the exact value of an expression; ValueError with a few words for what has none.

    `%` after a number divides it by 100, `5% of 200` is a product. `**` and `^` bind to the right and
    take whole exponents; `1e3` is a number. Other spellings: `kdst_tools.tools.spellings`.
    """
    if len(expression) > MAX_INPUT:
        raise ValueError(f"longer than {MAX_INPUT} characters")
    parser = _Parser(list(_tokens(spelt(expression))))
    value = parser.sum(0)
    parser.expect("end", "")
    return value


def _tokens(text: str) -> Iterator[Token]:
    place, end = 0, len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            raise ValueError(f"cannot read {text[place:].strip()[:12]!r}")
        kind = found.lastgroup or ""
        yield Token(kind, found[kind])
        place = found.end()
    yield Token("end", "")


class _Parser:
    """Recursive descent, one method a level of binding, values computed on the way."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.place = tokens, 0

    def take(self, *signs: str) -> str:
        """Take the next token if it is one of the signs, and return it, or else an empty text."""
        token = self.tokens[self.place]
        if token.kind != "sign" or token.text not in signs:
            return ""
        self.place += 1
        return token.text

    def expect(self, kind: str, text: str) -> None:
        token = self.tokens[self.place]
        if token != Token(kind, text):
            raise ValueError(f"unexpected {token.text!r}" if token.text else "ends too early")
        self.place += 1

    def sum(self, depth: int) -> Fraction:
        value = self.product(depth)
        while sign := self.take("+", "-"):
            right = self.product(depth)
            value = capped(value + right if sign == "+" else value - right)
        return value

    def product(self, depth: int) -> Fraction:
        value = self.signed(depth)
        while sign := self.take("*", "/"):
            right = self.signed(depth)
            value = capped(value * right if sign == "*" else divided(value, right))
        return value

    def signed(self, depth: int) -> Fraction:
        if depth > MAX_DEPTH:
            raise ValueError("too deeply nested")
        if sign := self.take("-", "+"):
            value = self.signed(depth + 1)
            return -value if sign == "-" else value
        return self.power(depth)

    def power(self, depth: int) -> Fraction:
        base = self.percent(depth)
        if self.take("**", "^"):
            return raised(base, self.signed(depth + 1))
        return base

    def percent(self, depth: int) -> Fraction:
        value = self.atom(depth)
        while self.take("%"):
            value = capped(value / 100)
        return value

    def atom(self, depth: int) -> Fraction:
        if self.take("("):
            value = self.sum(depth + 1)
            self.expect("sign", ")")
            return value
        token = self.tokens[self.place]
        self.expect("number", token.text)
        return number(token.text)


def number(text: str) -> Fraction:
    """Return a number as written, with or without commas between thousands and a power of ten."""
    digits, _, power = text.replace(",", "").lower().partition("e")
    if sum(map(str.isdigit, digits)) > MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} digits")
    exponent = int(power or "0")
    if abs(exponent) > MAX_EXPONENT:
        raise ValueError("too large" if exponent > 0 else "too small")
    return capped(Fraction(digits.rstrip(".")) * Fraction(10) ** exponent)


def divided(left: Fraction, right: Fraction) -> Fraction:
    """Return a quotient; ValueError for a division by zero."""
    if right == 0:
        raise ValueError("division by zero")
    return left / right


def raised(base: Fraction, exponent: Fraction) -> Fraction:
    """Return a power with a whole exponent, never computing one that passes the caps."""
    if exponent.denominator != 1:
        raise ValueError("an exponent that is not a whole number")
    if base == 0 and exponent < 0:
        raise ValueError("division by zero")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if base not in (0, 1, -1) and (abs(exponent) > MAX_EXPONENT or bits * abs(exponent) > MAX_BITS):
        raise ValueError("too large")
    whole = exponent.numerator % 2 if base == -1 else exponent.numerator
    return base**whole if base else Fraction(int(whole == 0))


def capped(value: Fraction) -> Fraction:
    """Return a value that is not too long to go on with; ValueError for another one."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise ValueError("too large")
    return value
