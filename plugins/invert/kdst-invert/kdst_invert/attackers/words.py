"""Attackers without a network: they know some texts of the store, and read the others from them."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from kdst_invert.attackers.linear import ridge
from kdst_invert.measures.recovery import words
from kdst_invert.measures.units import breaks_words, units

VOCABULARY = 4000
"""Most words that the attacker of bags of words knows, the most frequent first."""
THRESHOLDS = tuple(k / 20 for k in range(2, 13))


def read_words(known: Tensor, texts: Sequence[str], attacked: Tensor) -> list[str]:
    """Words of each attacked row (n, D) by ridge regression on the bags of words of known texts.

    known: (k, D), the rows of `texts`. The score from which a word is read is the one that reads most of
    the known texts, each from a map that was fitted without it. Words come by falling score.
    """
    split = units if any(map(breaks_words, texts)) else words
    counts = Counter(w for text in texts for w in dict.fromkeys(split(text)))
    vocabulary = [w for w, _ in counts.most_common(VOCABULARY)]
    place = {w: i for i, w in enumerate(vocabulary)}
    bags = torch.zeros(len(texts), len(vocabulary))
    for row, text in enumerate(texts):
        bags[row, [place[w] for w in set(split(text)) if w in place]] = 1
    found = ridge(known, bags)
    least = max(THRESHOLDS, key=lambda t: _f1(found.left_out > t, bags))
    return [_said(vocabulary, scores, least) for scores in found(attacked)]


def _f1(read: Tensor, bags: Tensor) -> float:
    """Mean F1 of sets of words (m, M)."""
    common = (read & (bags > 0)).sum(1)
    return float((2 * common / (read.sum(1) + bags.sum(1)).clamp(min=1)).mean())


def _said(vocabulary: Sequence[str], scores: Tensor, least: float) -> str:
    """The words whose score is above a threshold."""
    order = scores.argsort(descending=True).tolist()
    return " ".join(vocabulary[i] for i in order if float(scores[i]) > least)


def read_nearest(known: Tensor, texts: Sequence[str], attacked: Tensor) -> list[str]:
    """The known text whose row has the highest cosine to each attacked row."""
    nearest = (normalize(attacked, dim=1) @ normalize(known, dim=1).T).argmax(1)
    return [texts[i] for i in nearest.tolist()]
