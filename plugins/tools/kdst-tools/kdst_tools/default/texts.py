"""Generated texts: computations, dates, prose and repetitions, with the calls that would help."""

from collections.abc import Iterator, Mapping
from datetime import date
from random import Random

from attrs import frozen

from kdst_core.bench.sealed import withhold
from kdst_tools.default import words
from kdst_tools.default.facts import Fact, computation, day_fact, written
from kdst_tools.evaluation.problems import Problem

TEXT_SHARES = {"computation": 0.5, "date": 0.15, "prose": 0.25, "copy": 0.1}
"""How often a document is of each kind, unless asked otherwise."""


@frozen
class Help:
    """A call that helps: before the character at `offset`, where its answer begins in the text."""

    offset: int
    tool: str
    input: str
    answer: str


@frozen
class TinyText:
    """text: a document without calls. helps: the calls that help in it, by offset.

    kind: computation, equation (one that is written out, so that no call is needed), date, prose,
    copy or list. answer: what the computation results in, empty where there is none.
    """

    text: str
    helps: tuple[Help, ...]
    kind: str
    answer: str = ""


def documents(
    count: int,
    generator: Random,
    equations: float = 0.0,
    shares: Mapping[str, float] = TEXT_SHARES,
) -> Iterator[TinyText]:
    """Yield fresh documents; no held-out computation occurs in them.

    equations: share of computations that are also written out, as `412 + 77 = 489`, so that no tool
    is needed. shares: how often a document is of each kind.
    """
    kinds, weights = list(shares), list(shares.values())
    for _ in range(count):
        (kind,) = generator.choices(kinds, weights)
        yield _document(generator, kind, equations)


def problems(count: int, seed: int = 0) -> list[Problem]:
    """Return held-out problems: their pairs of operands, or of date and days, are in no text.

    RuntimeError while a method works, which is judged by them.
    """
    withhold("the embedded problems")
    generator = Random(f"problems {seed}")
    return [_problem(generator) for _ in range(count)]


def prose(count: int, seed: int = 0) -> list[str]:
    """Return texts in which no call helps, none of them made by `documents` with a usual seed."""
    withhold("the embedded held-out texts")
    generator = Random(f"prose {seed}")
    return [_document(generator, "prose", 0.0).text for _ in range(count)]


def _document(rng: Random, kind: str, equations: float) -> TinyText:
    if kind == "computation":
        operator = rng.choice(list(words.SETUPS))
        return _computation(rng, operator, rng.random() < equations, held_out=False)
    if kind == "date":
        return _date(rng, rng.choice(list(words.DATES)), held_out=False)
    if kind == "list":
        return TinyText(_list(rng), (), kind)
    templates = words.COPIES if kind == "copy" else words.PROSE
    chosen = rng.sample(templates, rng.randint(1, 2) if kind == "copy" else rng.randint(2, 4))
    return TinyText(" ".join(_fill(rng, template) for template in chosen), (), kind)


def _list(rng: Random) -> str:
    """Return a list of words and numbers in no order, read out twice."""
    pool = (words.NAMES, words.THINGS, words.PLACES, words.WEEKDAYS, words.MONTHS, words.EVENTS)
    items = [
        str(rng.randint(1, 99999)) if rng.random() < 0.6 else rng.choice(rng.choice(pool))
        for _ in range(rng.randint(4, 9))
    ]
    return (
        f"{rng.choice(words.LISTS)} {' '.join(items)}. {rng.choice(words.AGAIN)} {' '.join(items)}."
    )


def _computation(rng: Random, operator: str, equation: bool, held_out: bool) -> TinyText:
    fact = computation(rng, operator, held_out)
    slots = _slots(rng) | {"a": fact.left, "b": fact.right}
    sentences = [rng.choice(words.SETUPS[operator]).format(**slots)]
    for _ in range(rng.choice((0, 1, 1, 2))):
        sentence = _fill(rng, rng.choice(words.DISTRACTORS))
        sentences.insert(rng.randint(0, len(sentences)), sentence)
    if equation:
        line = rng.choice(words.EQUATIONS)
        sentences.append(line.format(left=fact.input, right=fact.answer, **_slots(rng)))
    result = rng.choice(words.RESULTS[operator]).format(answer="\0", **_without(slots))
    text = " ".join([*sentences, result])
    if rng.random() < 0.4:
        text = f"{text} {_fill(rng, rng.choice(words.PROSE))}"
    return _placed(text, fact, "equation" if equation else "computation")


def _date(rng: Random, sign: str, held_out: bool) -> TinyText:
    fact = day_fact(rng, sign, held_out)
    slots = _slots(rng) | {"day": fact.left, "n": fact.right}
    text = rng.choice(words.DATES[sign]).format(answer="\0", **slots)
    if rng.random() < 0.5:
        text = f"{_fill(rng, rng.choice(words.DISTRACTORS))} {text}"
    return _placed(text, fact, "date")


def _placed(text: str, fact: Fact, kind: str) -> TinyText:
    """Put the answer where the text has a zero byte and note the call that finds it."""
    before, after = text.split("\0")
    here = Help(len(before), fact.tool, fact.input, fact.answer)
    helps = () if kind == "equation" else (here,)
    return TinyText(f"{before} {fact.answer}{after}", helps, kind, fact.answer)


def _problem(rng: Random) -> Problem:
    if rng.random() < TEXT_SHARES["date"] / (TEXT_SHARES["date"] + TEXT_SHARES["computation"]):
        drawn = _date(rng, rng.choice(list(words.DATES)), held_out=True)
    else:
        drawn = _computation(rng, rng.choice(list(words.SETUPS)), equation=False, held_out=True)
    (help_,) = drawn.helps
    return Problem(drawn.text[: help_.offset], help_.answer, help_.tool, help_.input)


def _fill(rng: Random, template: str) -> str:
    return template.format(**_slots(rng))


def _without(slots: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in slots.items() if name not in ("a", "b")}


def _slots(rng: Random) -> dict[str, str]:
    """Return a filling for every slot that the sentences have, but for results."""
    name, name2 = rng.sample(words.NAMES, 2)
    things, things2 = rng.sample(words.THINGS, 2)
    place, place2 = rng.sample(words.PLACES, 2)
    weekday, weekday2 = rng.sample(words.WEEKDAYS, 2)
    day = date.fromordinal(date(2000, 1, 1).toordinal() + rng.randrange(40 * 365))
    return {
        "name": name, "name2": name2, "things": things, "things2": things2, "place": place,
        "place2": place2, "weekday": weekday, "weekday2": weekday2,
        "event": rng.choice(words.EVENTS), "day": written(day),
        "year": str(rng.randint(1820, 2039)), "year2": str(rng.randint(1820, 2039)),
        "age": str(rng.randint(11, 99)), "code": str(rng.randint(100, 999)),
        "long": str(rng.randint(1000, 99999)), "a": str(rng.randint(12, 999)),
        "b": str(rng.randint(12, 999)),
    }  # fmt: skip
