"""What a store is still worth: its own queries against protected vectors."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from attrs import frozen
from torch import Tensor

from kdst_invert.measures.units import units

TOP = 10
KEYWORDS = 5
"""Words of a query that is made from a text."""


@frozen
class Queries:
    """Queries of a store. vectors: (n, D). wanted: the row that each asks for. relevance: (n, N)
    grades of every row for every query, or None where nobody graded them."""

    vectors: Tensor
    wanted: Tensor
    relevance: Tensor | None = None


def quality(store: Tensor, plain: Tensor, queries: Tensor, asked: Queries) -> dict[str, Tensor]:
    """recall@1, recall@10, overlap@10 and, with grades, nDCG@10 of each query (n,).

    store: protected vectors (N, D). queries: (n, D) as they search it. plain: the vectors without a
    defence, whose ten first rows the overlap is taken with.
    """
    scores = queries @ store.T
    top = scores.topk(min(TOP, len(store)), dim=1).indices
    before = (asked.vectors @ plain.T).topk(min(TOP, len(plain)), dim=1).indices
    same = (top[:, :, None] == before[:, None, :]).any(2).float().mean(1)
    right = (top == asked.wanted[:, None]).float()
    found = {"recall@1": right[:, 0], "recall@10": right.amax(1), "overlap@10": same}
    if asked.relevance is not None:
        found["ndcg@10"] = ndcg(asked.relevance, top)
    return found


def keywords(texts: Sequence[str]) -> list[str]:
    """What people who look for each text may type: the words of it that stand in fewest of the texts, in
    its order, and no more than half of its words."""
    bags = [list(dict.fromkeys(units(text))) for text in texts]
    held = Counter(word for bag in bags for word in bag)
    found = []
    for bag, text in zip(bags, texts, strict=True):
        wanted = min(KEYWORDS, -(-len(bag) // 2))
        rare = set(sorted(bag, key=lambda word: held[word])[:wanted])
        found.append(" ".join(word for word in bag if word in rare) or text)
    return found


def ndcg(relevance: Tensor, top: Tensor) -> Tensor:
    """nDCG of rankings (n, k) with gains 2^grade - 1 and logarithmic discounts."""
    discounts = 1 / torch.log2(torch.arange(top.shape[1]) + 2.0)
    gains = 2 ** relevance.float() - 1
    reached = (gains.gather(1, top) * discounts).sum(1)
    best = (gains.topk(top.shape[1], dim=1).values * discounts).sum(1)
    return reached / best.clamp(min=1e-12)


def graded(fields: Sequence[Mapping[str, str]]) -> Tensor:
    """Grades (N, N) of notes for queries about each of them: 2 the note itself, 1 its condition."""
    conditions = [row.get("condition") for row in fields]
    places = {name: i for i, name in enumerate(dict.fromkeys(conditions))}
    kinds = torch.tensor([places[c] for c in conditions])
    grades = (kinds[:, None] == kinds[None]).float()
    return grades + torch.eye(len(fields))
