"""Which photographs are compared: all with all, neighbours in order, and those that look alike.

All pairs take time that grows with the square. From MANY photographs on, each is compared with its
neighbours and with those of the most similar features, which also closes loops.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

MANY = 60
"""Photographs from which on not all pairs are compared."""
NEIGHBOURS, ALIKE = 6, 8
"""Photographs that each is compared with: before it in order, and of the most similar features."""
VIDEO = {*range(1, 11), *(2**k for k in range(4, 12))}
"""Distances, in frames, at which frames of a video are compared."""
WORDS, SAMPLES = 64, 20_000
"""Words of the vocabulary, and features that it is made from."""

Pairs = list[tuple[int, int]]


def chosen_pairs(
    matching: str,
    names: Sequence[str],
    keys: Sequence[str],
    database: Path,
    times: Sequence[float | None] = (),
) -> Pairs:
    """Return the pairs (i, j), i < j, to compare.

    matching: all; sequential, neighbours in order, and those that look alike; retrieval, only those
    that look alike; video, frames in order; auto, all below MANY photographs and sequential from
    there on. keys: the photographs' names in the database of features. times: when each was taken,
    in seconds, where that is known.
    """
    count = len(names)
    if matching == "all" or (matching == "auto" and count < MANY):
        return [(i, j) for j in range(count) for i in range(j)]
    found: set[tuple[int, int]] = set()
    if matching != "retrieval":
        apart = VIDEO if matching == "video" else set(range(1, NEIGHBOURS + 1))
        for order in orders(names, times):
            steps = ((k, d) for k in range(len(order)) for d in apart if d <= k)
            found |= {_pair(order[k], order[k - d]) for k, d in steps}
    if matching != "video":
        found |= alike(_descriptors(keys, database), ALIKE)
    return sorted(found, key=lambda pair: (pair[1], pair[0]))


def orders(names: Sequence[str], times: Sequence[float | None]) -> list[list[int]]:
    """Return the orders in which photographs were taken: by time where every one says it, else by
    name, and beside it by time for those that say it."""
    by_name = sorted(range(len(names)), key=lambda k: natural(names[k]))
    known = {k: at for k, at in enumerate(times) if at is not None}
    if len(set(known.values())) < 2:
        return [by_name]
    by_time = sorted((k for k in by_name if k in known), key=lambda k: known[k])
    return [by_time] if len(by_time) == len(names) else [by_name, by_time]


def is_sequential(matching: str, count: int) -> bool:
    """Return whether the order of photographs decides which are compared."""
    return matching == "sequential" or (matching == "auto" and count >= MANY)


def natural(name: str) -> list[Any]:
    """Return a key that sorts names as people count: 2 before 10."""
    parts = re.split(r"(\d+)", name)
    return [int(p) if k % 2 else p for k, p in enumerate(parts)]


def alike(features: Sequence[Any], most: int) -> set[tuple[int, int]]:
    """Return for each photograph its pairs with the `most` that look most like it.

    features: one (F, D) array of local descriptors a photograph. Photographs are compared by their
    vectors of locally aggregated descriptors (Jégou et al., CVPR 2010), with a vocabulary made from
    these photographs.
    """
    words = _vocabulary(features)
    vectors = np.stack([_aggregated(f, words) for f in features])
    near = vectors @ vectors.T
    np.fill_diagonal(near, -np.inf)
    best = np.argsort(-near, axis=1, kind="stable")[:, : min(most, len(features) - 1)]
    return {_pair(i, int(j)) for i, row in enumerate(best) for j in row}


def _pair(i: int, j: int) -> tuple[int, int]:
    """Return two rows in order."""
    return (min(i, j), max(i, j))


def _descriptors(keys: Sequence[str], database: Path) -> list[Any]:
    """Return the descriptors (F, 128) of every photograph, root-normalised."""
    import pycolmap

    found = []
    with pycolmap.Database.open(database) as opened:
        for key in keys:
            image: Any = opened.read_image_with_name(key)
            stored = opened.read_descriptors(image.image_id)
            values = np.asarray(getattr(stored, "data", stored), np.float32).reshape(-1, 128)
            length = np.linalg.norm(values, axis=1, keepdims=True)
            found.append(values / np.maximum(length, 1e-6))
    return found


def _vocabulary(features: Sequence[Any]) -> Any:
    """Return words (WORDS, D) by k-means over a sample of all features."""
    rng = np.random.default_rng(0)
    every = np.concatenate(list(features))
    sample = every[rng.permutation(len(every))[:SAMPLES]]
    words = sample[: min(WORDS, len(sample))].copy()
    for _ in range(8):
        nearest = _nearest(sample, words)
        for k in range(len(words)):
            members = sample[nearest == k]
            if len(members):
                words[k] = members.mean(0)
    return words


def _nearest(features: Any, words: Any) -> Any:
    """Return the row (F,) of the word nearest to each feature."""
    return (features @ words.T - 0.5 * (words**2).sum(1)).argmax(1)


def _aggregated(features: Any, words: Any) -> Any:
    """Return the unit vector (WORDS · D,) of the differences of features from their words."""
    total = np.zeros_like(words)
    nearest = _nearest(features, words)
    np.add.at(total, nearest, features - words[nearest])
    length = np.linalg.norm(total, axis=1, keepdims=True)
    flat = (total / np.maximum(length, 1e-6)).ravel()
    return flat / max(float(np.linalg.norm(flat)), 1e-6)
