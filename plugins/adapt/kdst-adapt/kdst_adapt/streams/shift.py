"""One stream of shifted images, and how it is named."""

from typing import Any, ClassVar

import numpy as np
import torch
from attrs import field, frozen
from torch import Tensor

from kdst_adapt.corruptions import kept
from kdst_adapt.corruptions.types import Severities
from kdst_adapt.streams.pixels import Array
from kdst_core.bench.sealed import SealedArray, seal_array


def put_away(labels: Any) -> SealedArray:
    """Return labels (N,) sealed; those that are sealed already as they are."""
    return labels if isinstance(labels, SealedArray) else seal_array(labels)


@frozen
class Shift:
    """One stream: images (N, H, W, C), whole numbers to 255 or floats in [0, 1], and labels (N,).

    corruption: type and severity applied on the fly, or None when the images are already shifted.
    table: parameters of the corruption where they are not the published ones. rows: numbers of the
    images that are taken, in their order, None for all. names: of classes that labels count, where
    they are not logits yet. notes: what a reader must know of the source. order: in which it is always
    shown, empty where the run decides.
    """

    order: ClassVar[str] = ""

    name: str
    severity: int
    images: Array
    _labels: SealedArray = field(converter=put_away)
    corruption: tuple[str, int] | None = None
    table: Severities | None = None
    seed: int = 0
    rows: Array | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> Array:
        """The labels (N,), read anew; RuntimeError while a method works."""
        labels: Array = self._labels.read()
        return labels

    @property
    def key(self) -> str:
        """The name in metrics, `fog.5`; `clean` where nothing is corrupted."""
        return f"{self.name}.{self.severity}"

    @property
    def digest(self) -> str:
        """What tells streams of one name apart; empty where the options do."""
        return ""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    def pictures(self, rows: Array) -> Tensor:
        """Return images (B, C, H, W) float32 in [0, 1] of the given rows, without their labels."""
        places = np.asarray(rows) if self.rows is None else self.rows[rows]
        raw = np.asarray(self.images[places])
        x = (raw / np.float32(255) if raw.dtype.kind in "iu" else raw).astype(np.float32)
        if self.corruption:
            name, severity = self.corruption
            x = kept.batch(x, name, severity, seed=self.seed, places=places, table=self.table)
        return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))

    def batch(self, rows: Array) -> tuple[Tensor, Tensor]:
        """Return images, as `pictures` does, and labels (B,) of the given rows."""
        return self.pictures(rows), torch.from_numpy(self.labels[rows].astype(np.int64))
