"""Measures by step of an attack's file, with intervals; memory for numbers only."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from kdst_invert.lines import read_lines
from kdst_invert.measures import recovery as measures
from kdst_invert.measures.recovery import Interval
from kdst_invert.texts import Known, Originals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

HEADLINE = ("exact", "token_f1", "unit_f1", "bleu", "cosine", "names")


@frozen
class Scores:
    """values: measure to (N, steps + 1), NaN where a text has no such field."""

    values: "Mapping[str, Array]"
    steps: int

    def at(self, measure: str, step: int = -1) -> Interval:
        """Mean of a measure after a step, with its interval."""
        return measures.interval(self.values[measure][:, step])

    def final(self, measure: str) -> float:
        """Mean of a measure after the last step."""
        return measures.mean(self.values[measure][:, -1])

    def metrics(self, prefix: str = "") -> dict[str, float]:
        """Flat metrics: every headline measure by step, all measures at the end with intervals."""
        found: dict[str, float] = {}
        for name, values in self.values.items():
            last = self.at(name)
            if not last.count:
                continue
            if name in HEADLINE:
                for step in range(self.steps + 1):
                    found[f"{prefix}{name}.step{step}"] = measures.mean(values[:, step])
            found[f"{prefix}{name}.final"] = last.value
            found[f"{prefix}{name}.final.low"] = last.low
            found[f"{prefix}{name}.final.high"] = last.high
        return found


def score_file(file: Path, count: int, steps: int, originals: Originals | None) -> Scores:
    """Read an attack's file once and score every line; rows that stopped keep their score."""
    import numpy as np

    names = ["cosine", *_names(originals)]
    values = {n: np.full((count, steps + 1), np.nan, dtype=np.float32) for n in names}
    memory: dict[int, tuple[str, dict[str, float]]] = {}
    known = None if originals is None else originals.opened()
    for line in read_lines(file):
        row, step, text = line["row"], line["step"], line["text"]
        found = {"cosine": np.nan if line["cosine"] is None else line["cosine"]}
        if known is not None:
            found |= _scored(memory, row, text, known)
        for name, value in found.items():
            values[name][row, step:] = value
    return Scores(values, steps)


def _scored(
    memory: dict[int, tuple[str, dict[str, float]]], row: int, text: str, known: Known
) -> dict[str, float]:
    """Measures of a row's text, computed once while the text stays."""
    before = memory.get(row)
    if before is None or before[0] != text:
        found = measures.score(text, known.texts[row], known.fields_of(row))
        if len(memory) > 1024:
            memory.clear()
        memory[row] = (text, found)
    return memory[row][1]


def _names(originals: Originals | None) -> list[str]:
    """Measures that can be taken against the originals."""
    if originals is None:
        return []
    fields = dict.fromkeys(name for row in originals.fields for name in row)
    named = ["names" if n == measures.NAME else f"field.{n}" for n in fields]
    return [*measures.TEXT_MEASURES, *named]


def score_texts(texts: Sequence[str], originals: Originals) -> Scores:
    """Score one text a row against the originals, as after a single step."""
    import numpy as np

    values = {n: np.full((len(texts), 1), np.nan, dtype=np.float32) for n in _names(originals)}
    known = originals.opened()
    for row, text in enumerate(texts):
        found = measures.score(text, known.texts[row], known.fields_of(row))
        for name, value in found.items():
            values[name][row] = value
    return Scores(values, 0)


def final_texts(file: Path, count: int) -> list[str]:
    """The last text of every row."""
    found = [""] * count
    for line in read_lines(file):
        found[line["row"]] = line["text"]
    return found
