"""The calendar: today as the document knows it, weekdays, and arithmetic on dates."""

import calendar as months
import re
import unicodedata
from datetime import date, timedelta

from kdst_core.contracts import Tool
from kdst_tools.calls.visible import obeyed
from kdst_tools.tools.kit import FunctionTool, refuse_argument

MAX_COUNT = 100_000
"""Days, weeks, months or years that a call may add."""

EXAMPLES = (
    (
        "Today is the first Friday of the year, so the museum is open until ten.",
        "Today is the first [Calendar()] Friday of the year, so the museum is open until ten.",
    ),
    (
        "The bridge opened on 9 November 1989, a Thursday.",
        "The bridge opened on 9 November 1989, a [Calendar(9 November 1989)] Thursday.",
    ),
    (
        "The letter of 3 March 2031 must be answered within 14 days, by Monday 17 March 2031.",
        "The letter of 3 March 2031 must be answered within 14 days, by "
        "[Calendar(3 March 2031 + 14 days)] Monday 17 March 2031.",
    ),
    (
        "Between 1 May and 24 June 2024 there are 54 days.",
        "Between 1 May and 24 June 2024 there are [Calendar(24 June 2024 - 1 May 2024)] 54 days.",
    ),
)

_MONTHS = {name.lower(): i for i, name in enumerate(months.month_name) if name}
_MONTHS |= {name.lower(): i for i, name in enumerate(months.month_abbr) if name}
_MONTHS["sept"] = 9
MAX_INPUT = 200
"""Characters of an input."""
_STEP = re.compile(
    r"(.*?)\s*([-+])\s*(?:(\d+)\s*|([a-z]+)\s+)(day|week|month|year)s?", re.IGNORECASE
)
_AND = re.compile(r"(?<=[a-z])\s+and\s+(?=\d+\s*(?:day|week|month|year))")
_COUNTED = r"((?:\d+|[a-z]+)\s+(?:day|week|month|year)s?)"
_MANY = r"(?:how many\s+(?=days)(?:days\s+are\s+(?:there\s+)?)?)?"
_PHRASES = (
    (re.compile(r"(?:how many\s+)?days\s+(?:until|till|to)\s+(.+)"), r"\1 - today"),
    (re.compile(r"(?:how many\s+)?days\s+since\s+(.+)"), r"today - \1"),
    (re.compile(r"(?:the\s+)?day\s+after\s+(.+)"), r"\1 + 1 day"),
    (re.compile(r"(?:the\s+)?day\s+before\s+(.+)"), r"\1 - 1 day"),
    (re.compile(rf"(?:in\s+)?{_COUNTED}\s+(?:after|from|since)\s+(.+)"), r"\2 + \1"),
    (re.compile(rf"{_COUNTED}\s+before\s+(.+)"), r"\2 - \1"),
    (re.compile(rf"{_COUNTED}\s+ago"), r"today - \1"),
    (re.compile(rf"in\s+{_COUNTED}"), r"today + \1"),
    (
        re.compile(rf"{_MANY}(?:the\s+)?(?:number of\s+)?(?:days\s+)?between\s+(.+)\s+and\s+(.+)"),
        r"\2 - \1",
    ),
    (re.compile(rf"{_MANY}(?:days\s+)?from\s+(.+)\s+(?:to|until)\s+(.+)"), r"\2 - \1"),
    (re.compile(r"(.+)\s+(?:to|until)\s+(.+)"), r"\2 - \1"),
)
"""Wordings, and the same with a sign."""
_ASKED = re.compile(
    r"^(?:what(?:'s|\s+is)|(?:what|which)\s+(?:week)?day(?:\s+of\s+the\s+week)?\s+(?:is|was|will\s+be)"
    r"|(?:the\s+)?(?:weekday|day\s+of\s+the\s+week)\s+(?:of|on|for))\s+"
)
_QUOTES = " \"'`“”‘’[]"
"""What may stand around an input."""
_TODAY = re.compile(
    r"(?:what\s+day\s+is\s+it|what(?:'s|\s+is)\s+the\s+date|the\s+date)(?:\s+today)?|today's\s+date"
    r"|what(?:'s|\s+is)\s+today's\s+date"
)
"""Questions for the date of the document."""
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[t ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:z|[-+]\d\d:?\d\d)?")
"""The time of day behind an ISO date, which says nothing of the day."""
_NUMBERS = {
    word: number
    for number, word in enumerate(
        [
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
        ],
        1,
    )
} | {"a": 1, "an": 1}
_NEAR = {"": 0, "today": 0, "now": 0, "tomorrow": 1, "yesterday": -1}
_WRITTEN = (
    re.compile(
        r"(?P<day>\d{1,2})(?:st|nd|rd|th|\.)?[\s/-]+(?:of\s+)?(?P<month>[a-z]+)\.?,?[\s/-]+(?P<year>\d{4})"
    ),
    re.compile(
        r"(?P<month>[a-z]+)\.?\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?(?:,\s*|\s+)(?P<year>\d{4})"
    ),
    re.compile(r"(?P<year>\d{4})([-/.])(?P<month>\d{1,2})\2(?P<day>\d{1,2})"),
    re.compile(r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})"),
    re.compile(r"(?P<day>\d{1,2})\.\s?(?P<month>\d{1,2})\.\s?(?P<year>\d{4})"),
    re.compile(r"(?P<day>1[3-9]|2\d|3[01])([-/])(?P<month>\d{1,2})\2(?P<year>\d{4})"),
    re.compile(r"(?P<day>\d{1,2})([-/])(?P<month>(?P=day))\2(?P<year>\d{4})"),
    re.compile(r"(?P<month>\d{1,2})/(?P<day>1[3-9]|2\d|3[01])/(?P<year>\d{4})"),
)
_WEEKDAY = re.compile(
    r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day|(?:mon|tues?|wed|thu(?:rs?)?|fri|sat|sun)\.?),?\s+"
)


def make(argument: str | None) -> Tool:
    """Return the calendar as a tool."""
    refuse_argument("calendar", argument)
    return FunctionTool(
        "Calendar",
        "The input is empty for today's date, or a date, a date + or - a number of days, weeks, "
        "months or years, or the difference of two dates; the result is a date with its weekday, "
        "or a number of days.",
        lambda asked, document: answer(asked, document.date),
        EXAMPLES,
    )


def answer(asked: str, today: date | None) -> str:
    """Return the date or the number of days asked for; ValueError says what cannot be read.

    asked: `3 March 2031`, `March 3, 2031`, `2031-03-03` or `3.3.2031`, alone, followed by `+ 14 days`, or
    minus another date; `today` or nothing is the document's date. So are `14 days after 3 March 2031`,
    `2 weeks ago`, `3 March 2031 to 5 May 2031`, of which the first needs no year, `days until 1 May
    2031`, and `what day is 3 March 2031`. Where day and month could be either (`5/9/2024`) none is.
    """
    text = _spelt(asked)
    if _STEP.fullmatch(text):
        return written(_moment(text, today))
    left, minus, right = text.partition(" - ")
    if minus:
        days = (_moment(left, today) - _moment(_with_year(right, left), today)).days
        return f"{days} day" if abs(days) == 1 else f"{days} days"
    return written(_day(text, today))


def _with_year(start: str, end: str) -> str:
    """Return the start of a span with the year of its end, or the one before, where it names none."""
    year = re.search(r"\d{4}", end)
    if year is None or re.search(r"\d{4}", start) or not re.search(r"\d", start):
        return start
    dates = [f"{start} {int(year[0]) - back}" for back in (0, 1)]
    return dates[_moment(dates[0], None) > _moment(end, None)]


def _spelt(asked: str) -> str:
    """Return an input in small letters, ASCII digits and plain signs, wordings as sums."""
    if len(asked) > MAX_INPUT:
        raise ValueError(f"a date of more than {MAX_INPUT} characters")
    shown = "".join(c for c in unicodedata.normalize("NFKC", asked) if c.isspace() or not obeyed(c))
    text = " ".join(re.sub("[−–—]", "-", shown).lower().split())
    text = text.lstrip(_QUOTES).rstrip(f"{_QUOTES}=?.,;!")
    text = "today" if _TODAY.fullmatch(text) else _ASKED.sub("", _TIME.sub(r"\1", text))
    text = re.sub(r"\bplus\b", "+", re.sub(r"\bminus\b", "-", text))
    for wording, sum_ in _PHRASES:
        if wording.fullmatch(text):
            text = wording.sub(sum_, text)
            break
    return _AND.sub(" + ", text)


def _moment(text: str, today: date | None) -> date:
    """Return the date of a text with any number of steps behind it."""
    step = _STEP.fullmatch(text)
    if step is None:
        return _day(text, today)
    before, sign, digits, word, unit = step.groups()
    count = _count(digits) if digits else _NUMBERS.get(word)
    if count is None:
        raise ValueError(f"cannot read the date {text[:30]!r}")
    return moved(_moment(before, today), count if sign == "+" else -count, unit)


def moved(day: date, count: int, unit: str) -> date:
    """Return a date so many days, weeks, months or years later; the 31st becomes a month's last."""
    try:
        if unit in ("day", "week"):
            return day + timedelta(count * (7 if unit == "week" else 1))
        month = day.year * 12 + day.month - 1 + count * (12 if unit == "year" else 1)
        year, month = month // 12, month % 12 + 1
        return date(year, month, min(day.day, months.monthrange(year, month)[1]))
    except (ValueError, OverflowError) as error:
        raise ValueError("a date outside the years 1 to 9999") from error


def written(day: date) -> str:
    """Return a date with its weekday: Monday 3 March 2031."""
    return f"{months.day_name[day.weekday()]} {day.day} {months.month_name[day.month]} {day.year}"


def _count(digits: str) -> int:
    if len(digits) > 6 or int(digits) > MAX_COUNT:
        raise ValueError(f"more than {MAX_COUNT} to add")
    return int(digits)


def _day(text: str, today: date | None) -> date:
    """Return the date of a text; ValueError that says what is wrong with it."""
    text = _WEEKDAY.sub("", re.sub(r"^(?:on )?(?:the )?", "", text.strip()).strip("()"))
    if text in _NEAR:
        if today is None:
            raise ValueError("this document has no date")
        return moved(today, _NEAR[text], "day")
    found = next((match for form in _WRITTEN if (match := form.fullmatch(text))), None)
    if found is None:
        raise ValueError(f"cannot read the date {text[:30]!r}")
    name = found["month"]
    month = int(name) if name.isdigit() else _MONTHS.get(name, 0)
    try:
        return date(int(found["year"]), month, int(found["day"]))
    except ValueError as error:
        raise ValueError(f"there is no date {text[:30]!r}") from error
