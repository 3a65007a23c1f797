"""One stream in which corruptions fade into each other, as hard for a model all along.

The construction of CCC (Press et al., RDumb, 2023, section Continuously Changing Corruptions): two
corruptions at a time, the first fading out while the second comes in, on the way through their
severities on which a model's mean accuracy is nearest to what is asked for.
"""

import hashlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from attrs import evolve, field, frozen
from numpy.typing import NDArray
from torch import Tensor

from kdst_adapt.corruptions.between import QUARTERS, between
from kdst_adapt.streams.shift import Shift
from kdst_core.errors import KdstError

GRID = (0, 4, 12, 20)
"""Quarters of severities at which accuracies are measured; between them they are interpolated."""
IMAGES = 50
"""Images by which an accuracy is measured, at most."""
MEDIUM = 0.2 / 0.761
"""Accuracy that CCC-Medium asks for over that of its model, a ResNet-50, on clean ImageNet."""
Table = NDArray[np.float64]
Predict = Callable[[Tensor], Tensor]


@frozen
class Leg:
    """The way from one corruption to another: both with a severity in quarters, step by step."""

    first: Shift
    second: Shift
    steps: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        """Name both corruptions and their severities at every step."""
        levels = " ".join(f"{a / 4:g}/{b / 4:g}" for a, b in self.steps)
        return f"{self.first.name} > {self.second.name}: {levels}"


@frozen
class Changing(Shift):
    """The images of a shift in the order of the stream, under what each step of the legs has.

    `rows` holds the places of the images in their data, in the order of the stream.
    """

    order: ClassVar[str] = "stored"
    legs: tuple[Leg, ...] = field(factory=tuple)

    @property
    def digest(self) -> str:
        """What tells one way from another."""
        return hashlib.sha256("\n".join(self.walk).encode()).hexdigest()[:16]

    @property
    def walk(self) -> list[str]:
        """The legs, as `result.json` holds them."""
        return [str(leg) for leg in self.legs]

    def pictures(self, rows: NDArray[Any]) -> Tensor:
        """Return images (B, C, H, W) of the given rows, each under both corruptions of its step."""
        plain = evolve(self.legs[0].first, rows=self.rows, corruption=None, labels=self._labels)
        x = plain.pictures(rows).permute(0, 2, 3, 1).numpy()
        steps = [(leg, step) for leg in self.legs for step in leg.steps]
        places = np.asarray(self.rows)
        out = []
        for image, row in zip(x, rows, strict=True):
            leg, levels = steps[row * len(steps) // len(places)]
            out.append(_under(image, leg, levels, int(places[row])))
        return _tensor(out)


def _tensor(images: Sequence[Any]) -> Tensor:
    """Return images (H, W, C) as one tensor (B, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))


def _under(image: Any, leg: Leg, levels: tuple[int, int], place: int) -> Any:
    """Return an image (H, W, C) under the first corruption, then the second."""
    for shift, level in zip((leg.first, leg.second), levels, strict=True):
        name = shift.corruption[0] if shift.corruption else shift.name
        image = between(image, name, level, seed=shift.seed, index=place, table=shift.table)
    return image


def changing(shifts: Sequence[Shift], seed: int, classes: int, predict: Predict) -> Changing:
    """Return the stream of the images of shifts that are corrupted on the fly, all the same images.

    predict: images (B, C, H, W) to logits (B, classes) of the source model. The legs are as many as
    there are types; each begins where the one before it ended, and the next type is drawn.
    """
    shifts = [*{s.name: s for s in shifts}.values()]
    alike = len({id(s.images) for s in shifts}) == 1
    if len(shifts) < 2 or not alike or not all(s.corruption for s in shifts):
        raise KdstError(
            "--setting changing needs two types or more on clean images: digits, folder: or npz: with"
            " --corrupt all"
        )
    rng = np.random.default_rng([seed, 2])
    base = shifts[0]
    order = rng.permutation(len(base.labels))
    places = order if base.rows is None else base.rows[order]
    clean = evolve(base, rows=places, labels=base.labels[order], corruption=None)
    some = np.arange(min(IMAGES, len(order)))
    x, labels = clean.pictures(some), torch.from_numpy(clean.labels[some].astype(np.int64))

    def accuracy(leg: Leg) -> Table:
        return _accuracies(leg, x, labels, [int(p) for p in places[some]], predict)

    goal = _goal(_share(predict(x), labels), classes)
    numbers = [int(rng.integers(len(shifts)))]
    for _ in shifts:
        step = int(rng.integers(1, len(shifts)))
        numbers.append((numbers[-1] + step) % len(shifts))
    legs = []
    for a, b in pairwise(numbers):
        leg = Leg(shifts[a], shifts[b], ())
        legs.append(evolve(leg, steps=way(accuracy(leg), goal)))
    return Changing(
        "changing", 0, base.images, clean.labels, seed=base.seed, rows=places, legs=tuple(legs)
    )


def _share(logits: Tensor, labels: Tensor) -> float:
    """Return the share of logits (B, classes) that are right."""
    return float((logits.argmax(1) == labels).double().mean())


def _goal(clean: float, classes: int) -> float:
    """Return the accuracy to keep to, as far from chance to a model's clean accuracy as CCC-Medium's."""
    chance = 1 / classes
    return chance + MEDIUM * max(clean - chance, 0)


def _accuracies(
    leg: Leg, x: Tensor, labels: Tensor, places: Sequence[int], predict: Predict
) -> Table:
    """Return a model's accuracy at each pair of severities in quarters, (21, 21)."""
    images = x.permute(0, 2, 3, 1).numpy()
    measured = np.zeros((len(GRID), len(GRID)))
    for row, a in enumerate(GRID):
        for column, b in enumerate(GRID):
            seen = [_under(i, leg, (a, b), p) for i, p in zip(images, places, strict=True)]
            measured[row, column] = _share(predict(_tensor(seen)), labels)
    fine = np.arange(QUARTERS + 1)
    across = np.array([np.interp(fine, GRID, line) for line in measured])
    return np.array([np.interp(fine, GRID, line) for line in across.T]).T


def way(accuracy: Table, goal: float) -> tuple[tuple[int, int], ...]:
    """Return the way from the first corruption alone to the second alone.

    accuracy: (n, n) at each pair of severities. A step lowers the first or raises the second by one; of
    all ways on, each cell takes that whose mean accuracy with its own is nearest to the goal.
    """
    size = len(accuracy)
    best: dict[tuple[int, int], tuple[float, tuple[tuple[int, int], ...]]] = {}
    for i in range(size):
        for j in reversed(range(size)):
            on = [best[n] for n in ((i - 1, j), (i, j + 1)) if n in best] if i else [(0.0, ())]
            ways = [(total + accuracy[i, j], ((i, j), *steps)) for total, steps in on]
            best[i, j] = min(ways, key=lambda w: abs(w[0] / len(w[1]) - goal))
    starts = [best[i, 0] for i in range(1, size)]
    return min(starts, key=lambda w: abs(w[0] / len(w[1]) - goal))[1]
