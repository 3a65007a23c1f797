"""Formats of scene files, by name and ending, and the box of a crop; imports nothing heavy."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdst_core.errors import KdstError

if TYPE_CHECKING:
    from torch import Tensor

    from kdst_core.contracts import Scene

SUFFIXES = {
    "ply": ".ply",
    "splat": ".splat",
    "ply_compressed": ".compressed.ply",
    "spz": ".spz",
    "sog": ".sog",
}
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
        return Path(
            name.removesuffix(".ply").removesuffix(".spz").removesuffix(".sog") + SUFFIXES[kind]
        )
    known = tuple(SUFFIXES.values())
    if not out.name.lower().endswith(known if kind is None else SUFFIXES[kind]):
        wanted = " or ".join(known) if kind is None else SUFFIXES[kind]
        raise KdstError(f"--out {out}: the name must end in {wanted}")
    if kind == "ply" and out.name.lower().endswith(SUFFIXES["ply_compressed"]):
        raise KdstError(f"--out {out}: this ending means ply_compressed, not ply")
    if not out.parent.is_dir():
        raise KdstError(f"--out {out}: there is no folder {out.parent}")
    return out


def export(
    scene: "Scene", folder: Path, kinds: Sequence[str], crop: str, warnings: list[str]
) -> list[str]:
    """Write a scene in several formats, cropped where `crop` says so; return the files' names.

    Scenes that are cropped to nothing are left out with a warning: they must not end a run.
    """
    stem = "scene-cropped" if crop else "scene"
    written = []
    for name in (stem + SUFFIXES[kind] for kind in dict.fromkeys(kinds)):
        if name == "scene.ply":
            continue
        try:
            said = scene.save(folder / name, *([corners(crop)] if crop else []))
        except KdstError as e:
            warnings.append(f"{name} was not written: {e}")
        else:
            written.append(name)
            warnings.extend(said or ())
    return written
