"""Computations and dates of the generated texts, and which of them are held out."""

from datetime import date, timedelta
from fractions import Fraction
from random import Random
from zlib import crc32

from attrs import frozen

from kdst_tools.default.words import MONTHS, WEEKDAYS

HELD_OUT_SHARE = 10
"""One in so many pairs of operands occurs in problems only, never in a text."""


@frozen
class Fact:
    """One computation: what the text says, what a tool is asked, what it answers.

    left, right: the operands as the text shows them. operator: of +, -, *, %, or of +, - for dates.
    """

    tool: str
    operator: str
    left: str
    right: str
    input: str
    answer: str


def is_held_out(left: str, right: str) -> bool:
    """Return whether a pair of operands, in either order, is kept for problems."""
    return crc32(" ".join(sorted((left, right))).encode()) % HELD_OUT_SHARE == 0


def computation(rng: Random, operator: str, held_out: bool) -> Fact:
    """Draw a computation for the calculator from the held-out pairs or from the others."""
    while True:
        left, right = _operands(rng, operator)
        if is_held_out(str(left), str(right)) == held_out:
            return calculation(operator, left, right)


def calculation(operator: str, left: int, right: int) -> Fact:
    """Return the computation of two operands, exact to two decimals."""
    value = {
        "+": Fraction(left + right),
        "-": Fraction(left - right),
        "*": Fraction(left * right),
        "%": Fraction(left * right, 100),
    }[operator]
    asked = f"{left}% * {right}" if operator == "%" else f"{left} {operator} {right}"
    return Fact("Calculator", operator, str(left), str(right), asked, f"{float(value):.10g}")


def _operands(rng: Random, operator: str) -> tuple[int, int]:
    if operator == "+":
        return rng.randint(100, 999), rng.randint(100, 999)
    if operator == "-":
        left = rng.randint(300, 999)
        return left, rng.randint(100, left - 100)
    if operator == "*":
        return rng.randint(12, 99), rng.randint(12, 99)
    percent = rng.choice([p for p in range(3, 98) if p % 10 and p != 25])
    return percent, rng.randint(150, 999)


def day_fact(rng: Random, sign: str, held_out: bool) -> Fact:
    """Draw a date and a number of days from the held-out pairs or from the others."""
    first = date(2000, 1, 1).toordinal()
    while True:
        day = date.fromordinal(first + rng.randrange(40 * 365))
        days = rng.randint(15, 99)
        if is_held_out(written(day), str(days)) == held_out:
            return day_calculation(sign, day, days)


def day_calculation(sign: str, day: date, days: int) -> Fact:
    """Return the day that lies so many days after (+) or before (-) another."""
    reached = day + timedelta(days if sign == "+" else -days)
    answer = f"{WEEKDAYS[reached.weekday()]} {written(reached)}"
    asked = f"{written(day)} {sign} {days} days"
    return Fact("Calendar", sign, written(day), str(days), asked, answer)


def written(day: date) -> str:
    """Return a date as the texts write it: 3 March 2031."""
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"
