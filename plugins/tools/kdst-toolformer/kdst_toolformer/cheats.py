"""Calls that cheat or say nothing, which a loss cannot tell from those that help.

Whoever samples a call has not read on, but a model guesses what comes, and a text that is about a sum
names it more than once. An input with such a number knows what it should find.
"""

import re

from kdst_core.contracts import ToolCall
from kdst_tools.calls import unescape
from kdst_tools.outcome.reasons import COPIES, SAYS_NOTHING

_NUMBER = re.compile(r"\d+(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d+)?|(?<!\d)\.\d+")
_WORD = re.compile(r"[^\W\d_]+")
_MINUS_0 = re.compile(r"[-−]\s*0(?![\d.,])")
_OUTSIDE = " \t()+$€£¥%="
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_MONTHS = "january february march april may june july august september october november december"
WORDS: dict[str, float] = {
    **{word: float(n) for n, word in enumerate(_UNITS.split())},
    **{word: 10.0 * n for n, word in enumerate(_TENS.split(), 2)},
    **{
        "dozen": 12.0,
        "hundred": 100.0,
        "thousand": 1000.0,
        "half": 2.0,
        "double": 2.0,
        "twice": 2.0,
    },
}
"""Words that stand for numbers in a text."""
_ROUND = {10.0 * n for n in range(2, 10)}
MONTHS = {
    short: float(n) for n, name in enumerate(_MONTHS.split(), 1) for short in (name, name[:3])
} | {"sept": 9.0}
"""Names of months, which a date may have as numbers."""


def numbers(text: str) -> list[float]:
    """Return the numbers of a text that are written in digits, `1,250.50` being one."""
    return [float(found.replace(",", "")) for found in _NUMBER.findall(text)]


def known(text: str) -> set[float]:
    """Return the numbers that a text names, in digits, in words or as months."""
    words = _WORD.findall(text.casefold())
    found = {*numbers(text)}
    for word, following in zip(words, [*words[1:], ""], strict=False):
        value = WORDS.get(word)
        if value is not None:
            found |= {value, value + WORDS.get(following, 0.0) if value in _ROUND else value}
        elif word in MONTHS:
            found.add(MONTHS[word])
    return found


def reason(call: ToolCall, escaped: str) -> str:
    """Return why an executed call should not be scored, empty where nothing speaks against it.

    escaped: the text of its document, in which `call.offset` counts.
    """
    if says_nothing(call.input, call.result or ""):
        return SAYS_NOTHING
    used = set(numbers(call.input)) - known(unescape(escaped[: call.offset]))
    return COPIES if used & set(numbers(unescape(escaped[call.offset :]))) else ""


def inside_number(escaped: str, offset: int) -> bool:
    """Whether a call at a character of a text has digits of one number on both sides.

    Where every digit is a token, such a call has seen how its result begins.
    """
    return any(found.start() < offset < found.end() for found in _NUMBER.finditer(escaped))


def says_nothing(input: str, result: str) -> bool:
    """Whether a result is its input, apart from spaces, brackets and signs of currency, or one of its
    numbers where the others are 0 and 1, as in `412 * 1`."""
    asked, answer = (" ".join(text.casefold().split()).strip(_OUTSIDE) for text in (input, result))
    if asked == answer:
        return True
    given, said = numbers(asked), numbers(answer)
    if len(said) != 1 or said[0] not in given or _WORD.search(asked.replace("x", "")):
        return False
    given.remove(said[0])
    return set(given) <= {0.0, 1.0} and not re.search(r"[-−]", _MINUS_0.sub("", asked))
