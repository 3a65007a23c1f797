"""Demonstrations of calls for the warm-up, a stated share of them useless on purpose."""

from collections.abc import Iterator
from datetime import date
from random import Random

from kdst_tools.default import facts
from kdst_tools.default.texts import Help, TinyText, documents

USELESS_SHARE = 0.4


def call_text(call: Help) -> str:
    """Return a call as it stands inline, with its leading space."""
    return f" [{call.tool}({call.input}) -> {call.answer}]"


def annotated(text: str, call: Help) -> str:
    """Return a text with one call inline."""
    return text[: call.offset] + call_text(call) + text[call.offset :]


def demonstrations(
    count: int, generator: Random, useless: float = USELESS_SHARE
) -> Iterator[tuple[str, bool]]:
    """Yield texts with one call inline and whether the call was meant to help.

    Useless ones call at a random word, or ask for something that the text does not need.
    """
    made = 0
    for document in documents(10 * count, generator):
        spoilt = generator.random() < useless
        if not document.helps and not (spoilt and generator.random() < 0.3):
            continue
        call = _useless(document, generator) if spoilt else document.helps[0]
        yield annotated(document.text, call), not spoilt
        made += 1
        if made == count:
            return


def _useless(document: TinyText, rng: Random) -> Help:
    """Return a call that runs but does not help: wrong place, wrong operands, or both."""
    spaces = [i for i, letter in enumerate(document.text) if letter == " "][2:]
    offset = rng.choice(spaces)
    if document.helps and rng.random() < 0.5:
        offset = document.helps[0].offset
    fact = _other_fact(document, rng)
    return Help(offset, fact.tool, fact.input, fact.answer)


def _other_fact(document: TinyText, rng: Random) -> facts.Fact:
    if document.kind == "date" or rng.random() < 0.15:
        day = date.fromordinal(date(2000, 1, 1).toordinal() + rng.randrange(40 * 365))
        while True:
            days = rng.randint(15, 99)
            if not facts.is_held_out(facts.written(day), str(days)):
                return facts.day_calculation(rng.choice("+-"), day, days)
    numbers = sorted({int(n) for n in _numbers(document.text) if int(n) > 9})
    while True:
        pool = numbers + [rng.randint(12, 999) for _ in range(2)]
        left, right = rng.sample(pool, 2)
        if not facts.is_held_out(str(left), str(right)):
            return facts.calculation(rng.choice("+-*%"), max(left, right), min(left, right))


def _numbers(text: str) -> list[str]:
    spread = "".join(letter if letter.isdigit() else " " for letter in text)
    return spread.split()
