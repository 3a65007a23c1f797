"""Held-out views, whose photographs no method can reach before its renders are scored."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from attrs import frozen
from torch import Tensor

from kdst_core.bench.sealed import SealedArray, seal_array
from kdst_core.contracts import Camera, Capture
from kdst_reconstruct.holdout.choice import subset


@frozen
class HeldOut:
    """Views to score by: cameras and names in the open, photographs (H, W, 3) and masks (H, W) sealed."""

    cameras: Sequence[Camera]
    names: Sequence[str]
    photographs: Sequence[SealedArray]
    masks: Sequence[SealedArray | None]

    @classmethod
    def of(cls, views: Capture) -> "HeldOut":
        """Seal the photographs of a capture."""
        masks = views.masks or [None] * len(views.images)
        return cls(
            views.cameras,
            views.names,
            [_sealed(image) for image in views.images],
            [None if mask is None else _sealed(mask) for mask in masks],
        )

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.cameras)

    def photograph(self, number: int) -> Tensor:
        """Return a photograph (H, W, 3); RuntimeError while a method works."""
        return torch.from_numpy(self.photographs[number].read())

    def mask(self, number: int) -> Tensor | None:
        """Return where a photograph counts (H, W), None for everywhere."""
        mask = self.masks[number]
        return None if mask is None else torch.from_numpy(mask.read())


@frozen
class Parts:
    """A capture in parts. outline: cameras, names and points of all views, without any photograph.

    masks: how many photographs have one.
    """

    training: Capture
    heldout: HeldOut
    outline: Capture
    masks: int

    @classmethod
    def of(cls, capture: Capture, holdout: Sequence[int], apart: Sequence[int]) -> "Parts":
        """Split a capture: `holdout` is scored, and nothing of `holdout` or `apart` is trained on."""
        out = {*holdout, *apart}
        return cls(
            subset(capture, [k for k in range(len(capture.images)) if k not in out]),
            HeldOut.of(subset(capture, holdout)),
            attrs.evolve(capture, images=(), masks=None, tracks=None),
            sum(mask is not None for mask in capture.masks or ()),
        )


def judging_files(data: str, names: Sequence[str]) -> list[Path]:
    """Return the files that show held-out views, by their names, whatever their size or ending.

    data: a folder or video as `--data` names it; a video shows all of them.
    """
    place = Path(data).expanduser()
    if place.is_file():
        return [place]
    stems = {Path(name).name.partition(".")[0] for name in names}
    found = place.rglob("*") if place.is_dir() else ()
    return [path for path in found if path.name.partition(".")[0] in stems and path.is_file()]


def _sealed(tensor: Any) -> SealedArray:
    """Seal a tensor."""
    return seal_array(tensor.detach().cpu().numpy())
