"""Two more questions: is this text in the store, and what does a vector say of its row's columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from kdst_batch.statistics import wilson
from kdst_invert.attackers.linear import ridge
from kdst_invert.measures.recovery import Interval, interval
from kdst_invert.stores.table import Columns

FEWEST, MOST = 2, 20
"""Values that a column has whose values are worth guessing."""
EACH = 5
"""Rows that every value must have at least, among the known and among the attacked."""
FALSE_ALARM = 0.01


@frozen
class Shadow:
    """Texts of the store that the attacker knows, with which he sets his threshold.

    embeddings: (k, D), none made by a map that was learned from the text itself. rows: k rows of the store.
    """

    embeddings: Tensor
    rows: Sequence[int]

    def limit(self, store: Tensor) -> float:
        """Return the cosine that one in a hundred of the texts would pass if its row were not there."""
        likeness = normalize(self.embeddings, dim=1) @ normalize(store, dim=1).T
        likeness[torch.arange(len(self.rows)), list(self.rows)] = -torch.inf
        return highest(likeness.amax(1).double().numpy())


@frozen
class Membership:
    """How well members are told from others: area under the ROC curve, the share of members that are
    recognised, and that of others that are taken for members by the same threshold. shadow: known texts
    that set it; 0 where the others themselves did, so that at most one in a hundred passes."""

    auc: float
    recognised: Interval
    alarms: Interval
    members: int
    others: int
    shadow: int


def membership(
    candidates: Tensor, store: Tensor, inside: int, shadow: Shadow | None = None
) -> Membership:
    """Tell members by their highest cosine to the store.

    candidates: embeddings (n, D) of texts; the first `inside` have their row in `store` (N, D), the
    others have none.
    """
    score = (normalize(candidates, dim=1) @ normalize(store, dim=1).T).amax(1).double().numpy()
    members, others = score[:inside], score[inside:]
    above = (members[:, None] > others[None]).mean() + (members[:, None] == others[None]).mean() / 2
    limit = highest(others) if shadow is None else shadow.limit(store)
    hits, alarms = (interval((s > limit).astype(float)) for s in (members, others))
    known = 0 if shadow is None else len(shadow.rows)
    return Membership(float(above), hits, alarms, len(members), len(others), known)


def highest(scores: "NDArray[np.float64]") -> float:
    """Return the score that one in a hundred passes, of fewer none."""
    return float(np.sort(scores)[::-1][int(FALSE_ALARM * len(scores))])


@frozen
class Attribute:
    """How often a column's value is guessed right, and how often its most frequent value is right."""

    column: str
    right: float
    low: float
    high: float
    usual: float
    count: int

    @property
    def found(self) -> bool:
        """Whether the guess is better than always saying the most frequent value."""
        return self.low > self.usual


def attributes(
    known: Tensor, attacked: Tensor, columns: Columns, rows: Sequence[int], wanted: Sequence[int]
) -> list[Attribute]:
    """Guess columns of few values by ridge regression on the known rows.

    known: (k, D), the vectors of `rows`. attacked: (n, D), those of `wanted`.
    """
    found = []
    for name, values in columns.items():
        mine, theirs = [values[i] for i in rows], [values[i] for i in wanted]
        labels = _labels(mine, theirs)
        if not labels:
            continue
        one_hot = torch.tensor([[float(v == label) for label in labels] for v in mine])
        guess = ridge(known, one_hot)(attacked).argmax(1).tolist()
        right = [labels[g] == v for g, v in zip(guess, theirs, strict=True)]
        usual = max(labels, key=mine.count)
        rate = float(np.mean(right))
        low, high = wilson(sum(right), len(right))
        found.append(
            Attribute(name, rate, low, high, theirs.count(usual) / len(theirs), len(right))
        )
    return found


def _labels(mine: Sequence[Any], theirs: Sequence[Any]) -> list[Any]:
    """The values of a column that can be guessed; none where it has too many or too few of each."""
    try:
        labels = sorted({*mine, *theirs}, key=str)
    except TypeError:
        return []
    fits = FEWEST <= len(labels) <= MOST and all(isinstance(v, str | int | bool) for v in labels)
    return labels if fits and all(mine.count(v) >= EACH for v in labels) else []
