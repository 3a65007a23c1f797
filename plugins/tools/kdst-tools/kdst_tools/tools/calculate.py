"""The calculator: an expression in, its value to two decimals out (Toolformer, section 3)."""

from fractions import Fraction

from kdst_core.contracts import Document, Tool
from kdst_tools.tools.arithmetic import evaluate
from kdst_tools.tools.kit import FunctionTool, refuse_argument

DECIMALS = 2
SMALL_DIGITS = 2
"""Significant digits of a value that two decimals would round to 0."""
MAX_ANSWER = 40
"""Digits of an answer."""

EXAMPLES = (
    (
        "Of the 1400 people who took part in the test, 400, or 28.57%, passed it.",
        "Of the 1400 people who took part in the test, 400, or [Calculator(400 / 1400 * 100)] "
        "28.57%, passed it.",
    ),
    (
        "The hall has 18 rows of 24 seats, so 432 people can sit down.",
        "The hall has 18 rows of 24 seats, so [Calculator(18 * 24)] 432 people can sit down.",
    ),
    (
        "She paid 12.40 for the book and 7.35 for the map, 19.75 together.",
        "She paid 12.40 for the book and 7.35 for the map, [Calculator(12.40 + 7.35)] 19.75 "
        "together.",
    ),
    (
        "From 2011 to 2018 the fund grew from 210 to 735 million, that is by a factor of 3.5.",
        "From 2011 to 2018 the fund grew from 210 to 735 million, that is by a factor of "
        "[Calculator(735 / 210)] 3.5.",
    ),
)


def calculator(text: str) -> str:
    """Return the value of an expression rounded to two decimals, or a text that starts with `error:`.

    Computed exactly and rounded once, halves away from zero; `0.30` is written `0.3`. What is not 0 is
    never written as 0: a value below half a hundredth has two significant digits.
    """
    try:
        return written(evaluate(text))
    except ValueError as error:
        return f"error: {error}"


def written(value: Fraction) -> str:
    """Return a number to two decimals, without zeros at its end; ValueError for a very long one."""
    decimals = DECIMALS
    if value and not rounded(value, decimals):
        while rounded(value, decimals) < 10 ** (SMALL_DIGITS - 1):
            decimals += 1
            if decimals > MAX_ANSWER:
                raise ValueError("too small")
    whole = rounded(value, decimals)
    if whole >= 10 ** (MAX_ANSWER + decimals - DECIMALS):
        raise ValueError("too large")
    before, after = divmod(whole, 10**decimals)
    text = f"{before}.{after:0{decimals}}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 and whole else text


def rounded(value: Fraction, decimals: int) -> int:
    """Return |value| · 10^decimals rounded to a whole number, halves away from zero."""
    scaled = abs(value) * 10**decimals
    return (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)


def make(argument: str | None) -> Tool:
    """Return the calculator as a tool."""
    refuse_argument("calculator", argument)
    return FunctionTool(
        "Calculator",
        "The input is an expression of numbers, + - * / and brackets; the result is its value.",
        _answer,
        EXAMPLES,
    )


def _answer(expression: str, _document: Document) -> str:
    return written(evaluate(expression))
