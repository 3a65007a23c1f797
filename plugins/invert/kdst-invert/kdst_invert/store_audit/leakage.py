"""How much of the texts was read, beside what anyone would read by chance, and what could be seen."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from attrs import frozen

from kdst_batch.statistics import Z_975, wilson
from kdst_invert.measures.recovery import interval, token_f1, unit_f1
from kdst_invert.measures.units import units

Values = Sequence[Mapping[str, Sequence[str]]]
"""For each text, kind of personal data to the values that it holds."""
LABELS = {"token_f1": "token F1", "unit_f1": "unit F1"}
OF_TEXTS = {"token_f1": token_f1, "unit_f1": unit_f1}
"""Measures of whole texts; the others are of kinds of personal data."""
TURNS = 5
"""Other rows that each recovered text is compared with, for what chance gives."""


@frozen
class Leak:
    """One measure of one attacker.

    value, low, high: mean and its 95 % interval. chance: the same for texts of other rows. gain: mean
    difference, gain_low, gain_high: its interval. least: the smallest gain that this many values could
    have shown. count: texts, or values of a kind.
    """

    value: float
    low: float
    high: float
    chance: float
    gain: float
    gain_low: float
    gain_high: float
    least: float
    count: int

    @property
    def found(self) -> bool:
        """Whether more was read than chance gives; what is all 0 was not."""
        return self.value > 0 and self.gain_low > 0


def leak(own: Sequence[float], others: Sequence[float]) -> Leak:
    """A measure of texts against their own originals and, on average, against those of other rows."""
    ours, theirs = np.asarray(own, dtype=float), np.asarray(others, dtype=float)
    found, gain = interval(ours), interval(ours - theirs)
    count = len(ours)
    spread = float((ours - theirs).std())
    least = max(wilson(0, count)[1], Z_975 * spread / max(count, 1) ** 0.5)
    return Leak(
        found.value,
        found.low,
        found.high,
        float(theirs.mean()),
        gain.value,
        gain.low,
        gain.high,
        least,
        count,
    )


def leaks(read: Sequence[str], originals: Sequence[str], values: Values) -> dict[str, Leak]:
    """F1 of words and of units, and for every kind of personal data the share of its values that was
    read."""
    others = [_others(originals, i) for i in range(len(read))]
    found = {}
    for name, f1 in OF_TEXTS.items():
        shared = [
            float(np.mean([f1(text, originals[j]) for j in rows or [i]]))
            for i, (text, rows) in enumerate(zip(read, others, strict=True))
        ]
        found[name] = leak([f1(r, o) for r, o in zip(read, originals, strict=True)], shared)
    for kind in dict.fromkeys(k for row in values for k in row):
        own, by_others = [], []
        for i, row in enumerate(values):
            for value in row.get(kind, ()):
                own.append(has(read[i], value))
                by_others.append(float(np.mean([has(read[j], value) for j in others[i] or [i]])))
        found[kind] = leak(own, by_others)
    return found


def _others(originals: Sequence[str], row: int) -> list[int]:
    """Rows whose texts stand for what chance gives: the next ones that hold another text."""
    count = len(originals)
    after = ((row + t) % count for t in range(1, count))
    return list(islice((i for i in after if originals[i] != originals[row]), TURNS))


def has(text: str, value: str) -> float:
    """1 where a recovered text has all words of a value, in whatever order, since readers of bags of
    words have none; else 0."""
    wanted = set(units(value))
    return float(bool(wanted) and wanted <= set(units(text)))


def main(rows: Sequence[Mapping[str, Mapping[str, Any]]]) -> str:
    """The measure by which several readers' leaks are told: F1 of words, or that of units where only it
    is above chance, as in scripts without spaces."""
    told = [name for name in OF_TEXTS if any(row[name]["found"] for row in rows)]
    return told[0] if told else "token_f1"


def as_json(found: Mapping[str, Leak]) -> dict[str, dict[str, Any]]:
    """Leaks as JSON."""
    names = [a.name for a in Leak.__attrs_attrs__]
    return {k: {n: getattr(v, n) for n in names} | {"found": v.found} for k, v in found.items()}
