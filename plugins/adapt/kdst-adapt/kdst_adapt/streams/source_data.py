"""Training data for methods that need them, in batches that are read when they are asked for."""

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from attrs import evolve
from torch import Tensor, nn

from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.streams import classes, data
from kdst_adapt.streams.files import Files
from kdst_adapt.streams.pixels import Array
from kdst_adapt.streams.sampling import cut, ordered
from kdst_adapt.streams.shift import Shift
from kdst_core.errors import KdstError

KINDS = ("npz", "folder")
Batch = tuple[Tensor, Tensor]


def in_folders(inputs: AdaptInputs, live: Any) -> bool:
    """Return whether the training data lie class by class."""
    return live is None and inputs.source.startswith("folder:")


def load(
    inputs: AdaptInputs,
    live: Any,
    seed: int,
    model: nn.Module,
    count: int,
    shape: tuple[int, int, int],
) -> Shift:
    """Return the training data, with labels that are logits.

    live: an object from Python in place of --source. count: number of logits. shape: (C, H, W) of the
    streams. KdstError for anything wrong with the data.
    """
    if live is None and inputs.source.partition(":")[0] not in KINDS:
        raise KdstError(
            f"--source {inputs.source!r} is not understood; give npz:FILE or folder:DIR"
        )
    framed = in_folders(inputs, live)
    wanted = AdaptInputs(
        data=inputs.source,
        resize=inputs.resize if framed else None,
        crop=inputs.crop if framed else None,
    )
    (shift,), *_ = classes.assign(
        data.load(wanted, seed, live), count, model, inputs.classes if framed else None
    )
    if shift.input_shape != shape:
        got, needed = ("×".join(map(str, s)) for s in (shift.input_shape, shape))
        raise KdstError(f"--source: images of {got} (C×H×W), those of the streams are {needed}")
    return shift


class Batches(Sequence[Batch]):
    """Batches (images (B, C, H, W), labels (B,)) of a shift, as stored or shuffled by a seed."""

    def __init__(self, shift: Shift, size: int, seed: int, *, shuffled: bool) -> None:
        order = "shuffled" if shuffled else "stored"
        images: Any = shift.images
        if isinstance(images, Files):
            images = images.opened()
        self.shift = evolve(shift, images=images)
        self.labels = shift.labels
        self.rows = cut(ordered(len(self.labels), order, seed), size)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.rows)

    @overload
    def __getitem__(self, number: int) -> Batch: ...
    @overload
    def __getitem__(self, number: slice) -> list[Batch]: ...
    def __getitem__(self, number: int | slice) -> Batch | list[Batch]:
        """Return a batch, or those of a slice."""
        if isinstance(number, slice):
            return [self._batch(rows) for rows in self.rows[number]]
        return self._batch(np.asarray(self.rows[number]))

    def _batch(self, rows: Array) -> Batch:
        """Return images and labels of the given rows."""
        return self.shift.pictures(rows), torch.from_numpy(self.labels[rows].astype(np.int64))
