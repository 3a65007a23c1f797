"""The notes that the embedded inverters are trained on, and the one of them nearest to a text."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_invert.default.notes import close_notes, near_notes, notes
from kdst_invert.measures.units import units

BASE, COPIES = 16_000, 2
"""Base notes of seed 0, and near variants of each, in the training of embedded inverters."""
CLOSE_SEED, FAMILIES, CLOSE_COPIES = 77, 2_500, 3
"""Seed and number of further notes, and variants of each in which only a name, age or date differs."""
CANDIDATES = 2
"""Training notes of a text that are embedded: those that share most words with it."""


def training_texts() -> list[str]:
    """Every text that an embedded inverter was trained on."""
    found = [note.text for note in notes("train", BASE)]
    for copy in range(COPIES):
        found += [note.text for note in near_notes("train", BASE, copy=copy)]
    found += [note.text for note in notes("train", FAMILIES, CLOSE_SEED)]
    for copy in range(CLOSE_COPIES):
        found += [note.text for note in close_notes("train", FAMILIES, CLOSE_SEED, copy=copy)]
    return found


def nearest(
    texts: Sequence[str], vectors: Tensor, training: Sequence[str], embed: Embedder
) -> tuple[list[str], Tensor]:
    """For each text (vectors (N, D)) the training text of highest cosine, and that cosine (N,).

    Only the few training texts that share most words with the text are embedded, which favours this
    baseline: an attacker could not choose them so.
    """
    shared = closest_by_words(texts, training, CANDIDATES)
    wanted = list(dict.fromkeys(training[j] for row in shared for j in row))
    place = {text: i for i, text in enumerate(wanted)}
    known = torch.nn.functional.normalize(embed(wanted), dim=1)
    found, cosines = [], []
    for row, vector in zip(shared, torch.nn.functional.normalize(vectors, dim=1), strict=True):
        candidates = [training[j] for j in row]
        like = known[[place[text] for text in candidates]] @ vector
        best = int(like.argmax())
        found.append(candidates[best])
        cosines.append(float(like[best]))
    return found, torch.tensor(cosines)


def closest_by_words(texts: Sequence[str], training: Sequence[str], count: int) -> list[list[int]]:
    """For each text the places of the `count` training texts with the highest F1 of words."""
    vocabulary: dict[str, int] = {}
    rows = [[vocabulary.setdefault(w, len(vocabulary)) for w in units(t)] for t in training]
    wanted = [[vocabulary[w] for w in set(units(t)) if w in vocabulary] for t in texts]
    sizes = np.array([len(row) for row in rows], dtype=np.float32)
    holders: list[list[int]] = [[] for _ in vocabulary]
    for i, row in enumerate(rows):
        for w in set(row):
            holders[w].append(i)
    places = [np.array(h, dtype=np.int64) for h in holders]
    found = []
    for text in wanted:
        common = np.zeros(len(rows), dtype=np.float32)
        for w in text:
            common[places[w]] += 1
        f1 = common / (sizes + len(text))
        best = np.argpartition(-f1, min(count, len(f1) - 1))[:count]
        found.append([int(i) for i in best])
    return found
