"""Conversations with calls that help and calls that were planted among them, to try the filter on."""

from collections.abc import Iterator, Sequence
from random import Random

from kdst_tools.calls import write
from kdst_tools.chat.conversations import Row
from kdst_tools.chat.export import conversation
from kdst_tools.default import facts
from kdst_tools.default.texts import Help, TinyText, documents

DESCRIPTIONS = {"Calculator": "Works out an expression.", "Calendar": "Adds days to a date."}
Planted = tuple[Row, list[bool]]
"""A conversation, and of each of its calls whether it was planted."""


def planted(count: int, useless: int, seed: int = 0) -> Iterator[Planted]:
    """Yield conversations from texts whose answer a call finds, planted calls in the first `useless`.

    A planted call is carried out right and asks for something else: in every other conversation it
    stands beside the call that helps, before or behind it, in the others in its place.
    """
    rng = Random(f"planted {seed}")
    for number, text in enumerate(_with_answers(rng, count)):
        (useful,) = text.helps
        calls = [(useful, False)]
        if number < useless:
            other = (_other(rng, useful), True)
            orders = ([other], [other, *calls], [other], [*calls, other])
            calls = orders[number % 4]
        yield _conversation(text, calls)


def _with_answers(rng: Random, count: int) -> Iterator[TinyText]:
    """Texts in which one call helps."""
    made = 0
    for text in documents(20 * count, rng):
        if len(text.helps) == 1:
            yield text
            made += 1
            if made == count:
                return


def _other(rng: Random, useful: Help) -> Help:
    """A call that runs and has nothing to do with the text."""
    operator = rng.choice("+-*")
    while True:
        fact = facts.calculation(operator, rng.randint(500, 999), rng.randint(12, 499))
        if fact.answer != useful.answer:
            return Help(useful.offset, fact.tool, fact.input, fact.answer)


def _conversation(text: TinyText, calls: Sequence[tuple[Help, bool]]) -> Planted:
    """The text with its calls where the answer begins, as a conversation."""
    place = calls[0][0].offset
    written = "".join(write(call.tool, call.input, call.answer) for call, _ in calls)
    found = conversation(text.text[:place] + written + text.text[place:], DESCRIPTIONS)
    assert found is not None
    return found, [is_planted for _, is_planted in calls]
