"""Numbers of a text, and which of them look measured.

A number looks measured when it

- has a decimal point (`62.90`, `.54`),
- or stands before a unit (per cent, dB, points, seconds, bytes, times; `UNIT` has them all),
- or shares the unit of the next (`12 to 14 s`), or is an interval in brackets behind a number that does.

No measured number is one

- in code, in the target of a link, or in a comment,
- behind the name of a publication, version or setting (`section 3.2`, `Python 3.11`, `guidance 7.5`;
  `NAMED` has the words),
- that a Greek letter equals (`λ = .01`): it is a setting,
- that is a power of ten (`1e-10`): it is a tolerance,
- that says which interval stands beside a figure (`95 % interval`).
"""

import re
from dataclasses import dataclass
from decimal import Decimal

NUMBER = re.compile(
    r"(?<![\w.,/#^-])(?<!\d[−-])[+−-]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?![\w^]|\.\d|,\d)"
)
"""A number as pages write it: signs +, - and −, thousands with commas, the leading zero left out."""
UNIT = re.compile(
    r"[\s\u00a0]?(?:%|×(?!\d)|°)"
    r"|[\s\u00a0-](?:dB|points?|times|nats?|[mµn]?s|min|h|d|(?:CPU-)?(?:milli|micro)?seconds?|CPU-m?s"
    r"|(?:CPU-)?minutes?|(?:CPU-)?hours?|days|[kMGT]i?B)(?![\w-])"
)
NAMED = re.compile(
    r"(?:Python|[Vv]ersions?|[Ee]quations?|[Ss]ections?|[Tt]ables?|[Ff]igures?|[Tt]heorem|Diffusion|FLUX|CUDA"
    r"|arXiv|bash|[Ss]everity|[Ss]everities"
    r"|guidance|momentum|learning rate|weight decay|threshold|margin|distance|warm-up|scale|size)"
    r",?[\s:(]{1,2}$"
)
HIDDEN = re.compile(
    r"<!--.*?-->|``.+?``|`[^`]*`|\]\([^)]*\)|https?://\S+|<[^<>\n]+>|\d+e-?\d+|\d+(?:\.\d+){2,}"
    r"|[α-ωΑ-Ω]\S*\s[=<>≥≤]\s[−+\d.,]*\d(?:(?: to | and )[\d.,]*\d)?"
    r"|\b95\s?%(?=[^.;]{0,22}\bintervals?\b)|\bof 95\s?%|\bseeds? \d+(?: to \d+)?",
    re.DOTALL,
)
"""What holds no measured number, whatever stands in it."""
JOINED = (" to ", ", ", " and ", " or ")
"""What stands between numbers that share a unit."""


@dataclass(frozen=True)
class Number:
    """A number of a text: where it stands, and its value with the digits that are shown."""

    start: int
    end: int
    value: Decimal


def value_of(text: str) -> Decimal:
    """Return the value of a number as pages write it."""
    return Decimal(text.replace(",", "").replace("−", "-"))


def hidden(text: str) -> str:
    """Return the text with letters in the place of what holds no measured number."""
    return HIDDEN.sub(lambda found: "z" * len(found[0]), text)


def numbers(text: str) -> list[Number]:
    """Return all numbers that a text shows, in order."""
    found = NUMBER.finditer(hidden(text))
    return [Number(m.start(), m.end(), value_of(m[0])) for m in found]


def measured(text: str) -> list[Number]:
    """Return the numbers of a text that look measured, in order."""
    everything = numbers(text)
    chosen: set[int] = set()
    for place, number in enumerate(everything):
        if not NAMED.search(text[: number.start]) and looks_measured(text, number):
            chosen.add(place)
    for place in reversed(range(len(everything) - 1)):
        between = text[everything[place].end : everything[place + 1].start]
        if between in JOINED and place + 1 in chosen:
            chosen.add(place)
    for place in sorted(chosen):
        if bounds(text, everything, place):
            chosen.update((place + 1, place + 2))
    return [everything[place] for place in sorted(chosen)]


def looks_measured(text: str, number: Number) -> bool:
    """Whether a number looks measured by itself."""
    return number.value.as_tuple().exponent != 0 or bool(UNIT.match(text, number.end))


def bounds(text: str, found: list[Number], place: int) -> bool:
    """Whether the two numbers behind one are its interval: `(a to b` or `[a, b`."""
    if place + 2 >= len(found):
        return False
    first, low, high = found[place : place + 3]
    before = text[first.end : low.start]
    between = text[low.end : high.start]
    if re.fullmatch(r"[^()\[\].;]*\[", before):
        return between == ", "
    opening = r"[^()\[\].;,]{0,30}\((?:95\s?% intervals? (?:of \w+ )?)?"
    return between == " to " and bool(re.fullmatch(opening, before))
