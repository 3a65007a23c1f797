"""Formats of scene files, by name and ending, and the box of a crop; imports nothing heavy."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from kdst_core.errors import KdstError

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = {"ply": ".ply", "splat": ".splat", "ply_compressed": ".compressed.ply"}
"""Format to the ending by which `Scene.save` chooses it."""


def corners(text: str) -> "Tensor":
    """Return two opposite corners (2, 3) from six numbers, in either order per axis.

    Raises KdstError for anything else, or a box without a volume.
    """
    import torch

    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 6 or not all(map(math.isfinite, values)):
        raise KdstError(f"--crop {text}: give six numbers, x0,y0,z0,x1,y1,z1")
    box = torch.tensor(values, dtype=torch.float64).reshape(2, 3)
    if bool((box[0] == box[1]).any()):
        raise KdstError(f"--crop {text}: the corners span no volume")
    return box


def target(scene: Path, out: Path | None, kind: str | None) -> Path:
    """Return the file to write; KdstError when format and name do not go together."""
    if out is None:
        if kind is None:
            raise KdstError("give --out FILE, or --format " + " or ".join(SUFFIXES))
        name = scene.resolve().name
        return Path(name.removesuffix(".ply") + SUFFIXES[kind])
    known = tuple(SUFFIXES.values())
    if not out.name.lower().endswith(known if kind is None else SUFFIXES[kind]):
        wanted = " or ".join(known) if kind is None else SUFFIXES[kind]
        raise KdstError(f"--out {out}: the name must end in {wanted}")
    if kind == "ply" and out.name.lower().endswith(SUFFIXES["ply_compressed"]):
        raise KdstError(f"--out {out}: this ending means ply_compressed, not ply")
    if not out.parent.is_dir():
        raise KdstError(f"--out {out}: there is no folder {out.parent}")
    return out
