"""What recovered texts share with originals by chance, and the smallest leak that a test can see."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kdst_batch.statistics import wilson
from kdst_invert.measures import recovery as measures
from kdst_invert.measures.recovery import Interval
from kdst_invert.texts import Originals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64] | NDArray[np.float32]

OTHERS = 5
"""Originals of other rows that each recovered text is compared with."""


def by_chance(texts: Sequence[str], originals: Originals) -> dict[str, "Array"]:
    """F1 and names (n,) of every text against originals of other rows, on average over a few of them.

    What texts of one kind have in common is no leak. NaN where no other row has another original.
    """
    import numpy as np

    count = len(texts)
    found = {name: np.full(count, np.nan) for name in ("token_f1", "unit_f1", "names")}
    for i, text in enumerate(texts):
        others = [(i + n) % count for n in range(1, min(OTHERS, count - 1) + 1)]
        others = [j for j in others if originals.texts[j] != originals.texts[i]]
        if not others:
            continue
        wanted = [originals.texts[j] for j in others]
        found["token_f1"][i] = np.mean([measures.token_f1(text, o) for o in wanted])
        found["unit_f1"][i] = np.mean([measures.unit_f1(text, o) for o in wanted])
        named = [originals.fields_of(j).get(measures.NAME) for j in others]
        if all(named):
            found["names"][i] = np.mean([measures.says(text, str(name)) for name in named])
    return found


def above(values: Mapping[str, "Array"], chance: Mapping[str, "Array"]) -> dict[str, Interval]:
    """What measures are above chance, text by text, with intervals."""
    found = {n: measures.interval(values[n] - chance[n]) for n in chance if n in values}
    return {name: gain for name, gain in found.items() if gain.count}


def smallest_share(count: int) -> float:
    """The smallest share of `count` texts that cannot be overlooked: Wilson's upper end where none is
    found."""
    return wilson(0, count)[1]
