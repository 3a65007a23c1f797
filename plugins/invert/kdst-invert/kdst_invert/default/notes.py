"""Notes drawn at random in two parts that share no full name, and near variants of them."""

import random
from collections.abc import Mapping
from typing import Literal

from attrs import evolve, frozen

from kdst_core.bench.sealed import withhold
from kdst_invert.default.names import FIRST, LAST, is_held_out
from kdst_invert.default.words import AGES, DAYS, DRUGS, MONTHS, TEMPLATES

Part = Literal["train", "held-out"]
CHANGES = 3
"""Most things that a near variant changes."""
CLOSE_WEIGHTS = {"name": 2, "age": 3, "date": 3, "drug": 2}
"""How likely a close variant changes each field; numbers move a vector least, so more often."""


@frozen
class Note:
    """One note: its text and what it says of whom (name, condition, drug, age or date or both)."""

    text: str
    fields: Mapping[str, str]


@frozen
class Draw:
    """Everything that a note is made of, whether its template mentions it or not."""

    template: str
    first: int
    last: int
    age: int
    day: int
    month: str
    condition: str
    drug: str

    def note(self) -> Note:
        """Write the note."""
        values = {
            "name": f"{FIRST[self.first]} {LAST[self.last]}",
            "age": str(self.age),
            "date": f"{self.day} {self.month}",
            "condition": self.condition,
            "drug": self.drug,
        }
        said = {k: v for k, v in values.items() if f"{{{k}}}" in self.template}
        return Note(self.template.format(**values), said)


def notes(part: Part, count: int, seed: int = 0, start: int = 0) -> list[Note]:
    """Return notes `start` to `start + count` of an endless list; no full name is in both parts."""
    return [_drawn(part, seed, i).note() for i in range(start, start + count)]


def near_notes(part: Part, count: int, seed: int = 0, start: int = 0, copy: int = 0) -> list[Note]:
    """Return for each of the same `notes` one that differs in up to three things, all in its part."""
    found = []
    for i in range(start, start + count):
        rng = random.Random(f"near/{part}/{seed}/{i}/{copy}")
        found.append(_changed(_drawn(part, seed, i), rng, part).note())
    return found


def close_notes(part: Part, count: int, seed: int = 0, start: int = 0, copy: int = 0) -> list[Note]:
    """Return for each of the same `notes` one in which one or two fields, mostly numbers, differ."""
    found = []
    for i in range(start, start + count):
        rng, draw = random.Random(f"close/{i}/{copy}"), _drawn(part, seed, i)
        names = [n for n in CLOSE_WEIGHTS if f"{{{n}}}" in draw.template]
        weighted = [n for n in names for _ in range(CLOSE_WEIGHTS[n])]
        for name in rng.sample(weighted, 1 if rng.random() < 0.7 else 2):
            draw = _redrawn(draw, name, rng, part)
        found.append(draw.note())
    return found


def rewritten(part: Part, count: int, seed: int = 0) -> list[Note]:
    """Return each of the same `notes` in the words of another template."""
    found = []
    for i in range(count):
        draw = _drawn(part, seed, i)
        rng = random.Random(f"rewritten/{part}/{seed}/{i}")
        others = [t for t in TEMPLATES if t != draw.template]
        found.append(evolve(draw, template=rng.choice(others)).note())
    return found


def _drawn(part: Part, seed: int, i: int) -> Draw:
    """Note i of a part, drawn at random; RuntimeError for a held-out one while a method works."""
    if part == "held-out":
        withhold("the held-out notes")
    rng = random.Random(f"{part}/{seed}/{i}")
    condition = rng.choice(list(DRUGS))
    first, last = _full_name(rng, part)
    return Draw(
        first=first,
        last=last,
        age=rng.choice(AGES),
        day=rng.choice(DAYS),
        month=rng.choice(MONTHS),
        condition=condition,
        drug=rng.choice(DRUGS[condition]),
        template=rng.choice(TEMPLATES),
    )


def _full_name(rng: random.Random, part: Part) -> tuple[int, int]:
    """Places of the names of a full name of one part."""
    while True:
        first, last = rng.randrange(len(FIRST)), rng.randrange(len(LAST))
        if is_held_out(first, last) == (part == "held-out"):
            return first, last


def _changed(draw: Draw, rng: random.Random, part: Part) -> Draw:
    """The draw with one to three of the things that its template mentions drawn again."""
    names = [n for n in ("name", "age", "date", "drug", "condition") if n in draw.template]
    for name in rng.sample([*names, "template"], rng.randint(1, CHANGES)):
        draw = _redrawn(draw, name, rng, part)
    return draw


def _redrawn(draw: Draw, name: str, rng: random.Random, part: Part) -> Draw:
    """The draw with one thing drawn again; of names and dates one half at a time."""
    if name == "name":
        while True:
            first, last = _full_name(rng, part)
            first, last = rng.choice([(first, draw.last), (draw.first, last)])
            if is_held_out(first, last) == (part == "held-out"):
                return evolve(draw, first=first, last=last)
    if name == "age":
        return evolve(draw, age=rng.choice(AGES))
    if name == "date":
        if rng.random() < 0.5:
            return evolve(draw, day=rng.choice(DAYS))
        return evolve(draw, month=rng.choice(MONTHS))
    if name == "drug":
        return evolve(draw, drug=rng.choice(DRUGS[draw.condition]))
    if name == "condition":
        condition = rng.choice(list(DRUGS))
        return evolve(draw, condition=condition, drug=rng.choice(DRUGS[condition]))
    return evolve(draw, template=rng.choice(TEMPLATES))
