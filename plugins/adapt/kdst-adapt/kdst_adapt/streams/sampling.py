"""Which rows of a stream are taken, in which order, in which batches."""

from collections.abc import Sequence

import numpy as np

from kdst_adapt.streams.pixels import Array

FEW_CLASSES, SEVERAL = 0.5, 1.9
"""A batch with less than this share of the further classes that a shuffled one would hold counts as
sorted, where a shuffled one would hold several: of two classes, both nearly always."""


def lacks_classes(labels: Array, part: Array, *parts: Array) -> bool:
    """Return whether parts of a stream hold far fewer classes, on average, than if it were shuffled."""
    held = np.mean([len(np.unique(p)) for p in (part, *parts)])
    expected = expected_classes(labels, [len(p) for p in (part, *parts)])
    return expected >= SEVERAL and bool(held - 1 < FEW_CLASSES * (expected - 1))


def expected_classes(labels: Array, sizes: Sequence[int]) -> float:
    """Return how many classes parts of these sizes of a shuffled stream hold, on average."""
    _, counts = np.unique(labels, return_counts=True)
    share = counts / counts.sum()
    return float(np.mean([(1 - (1 - share) ** size).sum() for size in sizes]))


def across_classes(labels: Array, count: int) -> Array:
    """Return `count` rows in their order, taken from all classes alike.

    With fewer rows than classes, the classes lie evenly between the first and the last.
    """
    classes, inverse = np.unique(labels, return_inverse=True)
    rank = np.empty(len(labels), np.int64)
    for label in range(len(classes)):
        mine = np.flatnonzero(inverse == label)
        rank[mine] = np.arange(len(mine))
    turn = np.argsort(np.argsort(np.arange(len(classes)) * 0.6180339887498949 % 1))
    return np.sort(np.lexsort((turn[inverse], rank))[:count])


def ordered(count: int, order: str, seed: int) -> Array:
    """Return the rows of a stream in order: as stored, or shuffled by the seed."""
    rows = np.arange(count)
    return np.random.default_rng(seed).permutation(count) if order == "shuffled" else rows


def cut(rows: Array, size: int) -> list[Array]:
    """Return the rows of each batch; a last batch of a single image joins the one before it.

    BatchNorm has no statistics for a single image, and every method sees the same batches.
    """
    cuts = list(range(size, len(rows), size))
    if cuts and size > 1 and len(rows) - cuts[-1] == 1:
        cuts.pop()
    return np.split(rows, cuts)
