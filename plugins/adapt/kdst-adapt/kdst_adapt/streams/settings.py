"""The settings of a stream: order of its images, which of them, gradual and mixed shifts, window."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from attrs import evolve, field, frozen
from numpy.typing import NDArray
from torch import Tensor

from kdst_adapt.streams.shift import Shift
from kdst_core.errors import KdstError

Rows = NDArray[Any]


def correlated(
    labels: Rows,
    rows: Rows,
    concentration: float,
    rng: np.random.Generator,
    most: int | None = None,
) -> Rows:
    """Return rows so that images of a class come close together.

    Each class is spread over as many parts of the stream as there are classes, at most `most`, in
    shares drawn from a Dirichlet distribution (Gong et al., NOTE, NeurIPS 2022).
    """
    classes = np.unique(labels[rows])
    count = min(len(classes), most or len(classes))
    parts: list[list[Rows]] = [[] for _ in range(count)]
    for label in classes:
        mine = rng.permutation(rows[labels[rows] == label])
        shares = rng.dirichlet(np.full(count, concentration))
        cuts = np.round(np.cumsum(shares)[:-1] * len(mine)).astype(int)
        for part, piece in zip(parts, np.split(mine, cuts), strict=True):
            part.append(piece)
    return np.concatenate([part[k] for part in parts for k in rng.permutation(len(part))])


def imbalanced(labels: Rows, rows: Rows, ratio: float, rng: np.random.Generator) -> Rows:
    """Return rows, in their order, of which the classes keep shares that fall geometrically to 1/ratio."""
    classes = rng.permutation(np.unique(labels[rows]))
    kept = []
    for rank, label in enumerate(classes):
        mine = rows[labels[rows] == label]
        share = ratio ** (-rank / max(len(classes) - 1, 1))
        kept.append(rng.choice(mine, max(1, round(share * len(mine))), replace=False))
    return rows[np.isin(rows, np.concatenate(kept))]


def arrange(shifts: Sequence[Shift], setting: str) -> list[Shift]:
    """Return the streams of a setting, in order; KdstError when the data cannot give them."""
    if setting in ("separate", "changing"):
        return list(shifts)
    if setting == "mixed":
        return [mix(shifts)]
    found = []
    for name in dict.fromkeys(s.name for s in shifts):
        mine = {s.severity: s for s in shifts if s.name == name}
        if set(mine) != {1, 2, 3, 4, 5}:
            raise KdstError(f"--setting gradual needs severities 1 to 5 of {name}: --severity 1-5")
        down = [evolve(mine[k], name=f"{name}-down") for k in (4, 3, 2, 1)]
        found += [*(mine[k] for k in range(1, 6)), *down]
    return found


def kind(shift: Shift) -> str:
    """Return the type of a shift, the way up and the way down of a gradual one alike."""
    return shift.name.removesuffix("-down")


@frozen
class Mixed(Shift):
    """The images of several shifts as one stream, those of the parts one after the other.

    `images` holds the first one only, for its shape.
    """

    order: ClassVar[str] = "shuffled"
    parts: tuple[Shift, ...] = field(factory=tuple)

    def pictures(self, rows: Rows) -> Tensor:
        """Return images (B, C, H, W) of the given rows, each from its own shift."""
        starts = np.cumsum([0, *(len(p.labels) for p in self.parts)])
        owner = np.searchsorted(starts, rows, "right") - 1
        images = torch.empty(len(rows), *self.input_shape)
        for number in np.unique(owner):
            mine = np.flatnonzero(owner == number)
            part = self.parts[number].pictures(rows[mine] - starts[number])
            images[torch.from_numpy(mine)] = part
        return images


def mix(shifts: Sequence[Shift]) -> Mixed:
    """Return one stream of all images of several shifts."""
    labels = np.concatenate([s.labels for s in shifts])
    return Mixed("mixed", 0, shifts[0].images[:1], labels, parts=tuple(shifts))
