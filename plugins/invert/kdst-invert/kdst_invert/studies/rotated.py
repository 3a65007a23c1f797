"""A secret rotation found from few pairs: first by how own texts lie, then by reading the whole store.

Pairs fewer than dimensions leave most of a rotation open. An attacker reads what he has of the store,
embeds his readings, and takes those that lie near their rows for further pairs, round after round (as
iterative closest points does). A reading counts by a high power of its cosine, so that wrong ones are
next to nothing.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_invert.attackers.filling import Linear
from kdst_invert.attackers.rotation import aligned_rotation, learned_rotation, polar
from kdst_invert.defences.defence import unit
from kdst_invert.embedders.batches import embedded
from kdst_invert.studies.adaptive import Known, Undoing

Reader = Callable[[Tensor, int, float], Sequence[str]]
"""What reads vectors (n, D) in a round (from 0), given the deviation a coordinate that they still have."""
ROUNDS = 4
MOST = 500
"""Rows of the store that are read in every round."""
SHARP = 30
"""Power of its cosine by which a reading counts."""
ENOUGH = 0.002
"""Rise of the mean cosine below which no further round is tried."""
UNREAD = 0.02
"""Deviation a coordinate that is assumed before anything was read."""


def learned(known: Known, stored: Tensor, store: Tensor, read: Reader, embed: Embedder) -> Undoing:
    """How to turn a store back that k pairs (k, D) with the stored vectors `stored` are known of.

    store: protected vectors (N, D) of texts that are not known. Where pairs are as many as dimensions
    they settle it; without any, nothing can be learned and ValueError is raised.
    """
    pairs = known.pairs
    if not len(pairs):
        raise ValueError("a secret rotation is learned from one pair at least")
    if len(pairs) >= pairs.shape[1] or not len(store):
        return Undoing(Linear(learned_rotation(pairs, stored)))
    every = torch.cat([stored, store])
    first = (
        aligned_rotation(pairs, stored, known.own, every)
        if len(known.own)
        else learned_rotation(pairs, stored)
    )
    return _by_reading(first, pairs, stored, unit(store[:MOST]), read, embed)


def _by_reading(
    matrix: Tensor, pairs: Tensor, stored: Tensor, store: Tensor, read: Reader, embed: Embedder
) -> Undoing:
    """Read, embed and fit again, until readings come no closer."""
    fixed = stored.double().T @ pairs.double()
    texts: dict[str, Tensor] = {}
    left, before = UNREAD, -1.0
    for number in range(ROUNDS):
        turned = store @ matrix
        found = [t for t in dict.fromkeys(read(turned, number, left)) if t and t not in texts]
        if found:
            texts.update(zip(found, unit(embedded(embed, found).float()), strict=True))
        if not texts:
            break
        cosine, chosen = _closest(turned, torch.stack(list(texts.values())))
        weights = cosine.clamp(min=0).double() ** SHARP
        matrix = polar(fixed + (store.double() * weights[:, None]).T @ chosen.double()).float()
        mean = float(cosine.mean())
        left = math.sqrt(max(2 - 2 * mean, 0) / store.shape[1])
        if mean < before + ENOUGH:
            break
        before = mean
    return Undoing(Linear(matrix), left)


def _closest(turned: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine (n,) and vector (n, D) of the reading that is closest to each row."""
    cosine, places = (turned @ vectors.T).max(1)
    return cosine, vectors[places]
