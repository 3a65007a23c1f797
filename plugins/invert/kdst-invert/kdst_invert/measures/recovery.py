"""How close a recovered text is to the original: exact match, F1 of words and units, BLEU, fields."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kdst_batch.statistics import bootstrap, wilson
from kdst_invert.measures.units import is_count, roles, units

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64] | NDArray[np.float32]

TEXT_MEASURES = ("exact", "token_f1", "unit_f1", "bleu")
NAME = "name"
"""The field whose recovery is the measure `names`; the others are `field.<name>`."""
RESAMPLES = 1000


def words(text: str) -> list[str]:
    """Words of a text, in lower case, punctuation left out."""
    return re.findall(r"\w+(?:['’]\w+)*", text.lower())


def exact(text: str, original: str) -> float:
    """1 where the texts are equal but for space, else 0."""
    return float(text.split() == original.split())


def token_f1(text: str, original: str) -> float:
    """F1 of the words of a text against those of the original, each as often as it occurs."""
    return _f1(words(text), words(original))


def unit_f1(text: str, original: str) -> float:
    """The same over units: numbers with sign and decimal mark, words of any script, symbols."""
    return _f1(units(text), units(original))


def _f1(one: Sequence[str], other: Sequence[str]) -> float:
    """F1 of two bags."""
    found, wanted = Counter(one), Counter(other)
    common = (found & wanted).total()
    return 2 * common / max(found.total() + wanted.total(), 1)


@cache
def _bleu() -> Any:
    """sacrebleu's sentence BLEU with its own defaults."""
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)


def bleu(text: str, original: str) -> float:
    """Sentence BLEU of sacrebleu (tokeniser 13a, exponential smoothing), from 0 to 1."""
    score: float = _bleu().sentence_score(text, [original]).score
    return min(score / 100, 1.0)


def says(text: str, value: str, original: str = "") -> float:
    """1 where the units of a value stand in a text, in order and together, else 0.

    A bare number, such as an age, counts only where it stands for what it does in the original, if that
    is given: the day of a date or a dose is no age.
    """
    if is_count(value) and original:
        return float(bool(roles(text, value) & roles(original, value)))
    found, wanted = units(text), units(value)
    places = range(len(found) - len(wanted) + 1)
    return float(any(found[i : i + len(wanted)] == wanted for i in places))


def score(text: str, original: str, fields: Mapping[str, str]) -> dict[str, float]:
    """All measures of one recovered text; fields: the named values that the original holds."""
    found = {
        "exact": exact(text, original),
        "token_f1": token_f1(text, original),
        "unit_f1": unit_f1(text, original),
        "bleu": bleu(text, original),
    }
    for name, value in fields.items():
        found["names" if name == NAME else f"field.{name}"] = says(text, value, original)
    return found


@frozen
class Interval:
    """A mean over texts and its 95 % interval."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        """As the terminal and the report show it."""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def interval(values: "Sequence[float] | Array", seed: int = 0) -> Interval:
    """Mean of values, one a text, with the bootstrap's percentile interval over texts.

    Values that are all 0 or all 1 get Wilson's interval, since resampling them says nothing. NaN, a
    text that has no such field, is left out.
    """
    import numpy as np

    kept = np.asarray(values, dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    count = len(kept)
    if not count:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(kept.mean())
    if bool(np.isin(kept, (0.0, 1.0)).all()) and mean in (0.0, 1.0):
        return Interval(mean, *wilson(mean * count, count), count)
    return Interval(mean, *bootstrap(kept, seed, RESAMPLES), count)


def mean(values: "Array") -> float:
    """Mean of the values that are known."""
    import numpy as np

    return float(np.nanmean(values, dtype=np.float64))
