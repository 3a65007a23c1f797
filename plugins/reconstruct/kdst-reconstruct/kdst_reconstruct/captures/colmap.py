"""COLMAP models: photographs with cameras and points, any camera model, as a capture."""

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdst_core.contracts import Capture
from kdst_core.errors import KdstError, first_line
from kdst_reconstruct.captures import colmap_text as text
from kdst_reconstruct.captures import photographs
from kdst_reconstruct.captures.colmap_binary import check_whole
from kdst_reconstruct.captures.named import matched
from kdst_reconstruct.captures.photographs import View
from kdst_reconstruct.inputs import ReconstructInputs


def find(root: Path) -> Path | None:
    """Return the folder of a capture's sparse model, or None; KdstError for half a model.

    It is looked for in sparse/, in the folder itself, and in colmap/, where nerfstudio keeps it. Of several
    in sparse/ it is that of the lowest number. One without points3D counts as whole: training can start
    from random points.
    """
    folders: list[Path] = []
    for home in (root, root / "colmap"):
        folders += [*_numbered(home / "sparse"), home / "sparse", home]
    for folder in folders:
        for suffix in (".bin", ".txt"):
            if (folder / f"cameras{suffix}").is_file():
                if not (folder / f"images{suffix}").is_file():
                    raise KdstError(f"{folder} lacks images{suffix}; copy the whole COLMAP model")
                return folder
    return None


def _numbered(sparse: Path) -> list[Path]:
    """Return the models that COLMAP's mapper wrote into a folder, in the order of their numbers."""
    if not sparse.is_dir():
        return []
    folders = [f for f in sparse.iterdir() if f.name.isdecimal() and f.is_dir()]
    return sorted(folders, key=lambda f: int(f.name))


def others(folder: Path) -> list[str]:
    """Return a sentence on the models beside the one that is used, if there are any."""
    rest = [f.name for f in _numbered(folder.parent) if f != folder]
    if not folder.name.isdecimal() or not rest:
        return []
    return [
        f"{folder.parent} holds several models, which share no coordinates: {folder.name} is used, not"
        f" {', '.join(rest[:8])}."
    ]


def load(
    root: Path,
    images: Path,
    folder: Path,
    inputs: ReconstructInputs,
    said: list[str] | None = None,
    upright: bool = False,
) -> Capture:
    """Read the model in `folder`, whose photographs are below `images`; views in name order.

    upright: the model was made of photographs that were turned upright first. Photographs that are
    missing are skipped, and `said` gets a sentence on them. KdstError says what is broken.
    """
    model = _read_model(folder)
    views = sorted(model.images.values(), key=lambda view: str(view.name))
    if not views:
        raise KdstError(f"{root}: the COLMAP model has no registered images; run its mapper again")
    rows = {identifier: row for row, identifier in enumerate(model.points3D)}
    points = np.array([p.xyz for p in model.points3D.values()]).reshape(-1, 3)
    if not np.isfinite(points).all():
        raise KdstError(f"{root}: a point of the COLMAP model is not finite; remove it")
    colors = np.array([p.color for p in model.points3D.values()]).reshape(-1, 3) / 255
    names = [str(view.name) for view in views]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise KdstError(
            f"{root}: the COLMAP model has several cameras for {', '.join(twice[:8])}; keep one"
        )
    files = matched([_file(images, name) for name in names], images)
    found = [
        _view(root, images, view, file, upright) for view, file in zip(views, files, strict=True)
    ]
    there, sentences = photographs.present(found, inputs)
    if said is not None:
        said += sentences
    return photographs.capture(
        [found[k] for k in there],
        inputs,
        points,
        colors,
        [_track(views[k], rows) for k in there],
    )


def _read_model(folder: Path) -> Any:
    """Read a COLMAP model; one without points3D has no points."""
    if (folder / "cameras.bin").is_file():
        check_whole(folder)
        return _opened(folder, folder)
    if not text.is_odd(folder):
        return _opened(folder, folder)
    with tempfile.TemporaryDirectory() as name:
        text.write_mended(folder, Path(name))
        return _opened(Path(name), folder)


def _opened(folder: Path, called: Path) -> Any:
    """Read a COLMAP model; `called` is where the user has it. Raises KdstError with the line of a text
    that cannot be read."""
    import pycolmap

    try:
        with pycolmap.ostream():
            if any((folder / f"points3D{suffix}").is_file() for suffix in (".bin", ".txt")):
                model = pycolmap.Reconstruction(folder)
            else:
                model = _read_without_points(folder)
    except (ValueError, RuntimeError, IndexError) as e:
        binary = (folder / "cameras.bin").is_file()
        reason = ("" if binary else text.fault(called)) or first_line(e)[-160:]
        raise KdstError(f"{called} cannot be read as a COLMAP model: {reason}") from e
    if not (folder / "images.bin").is_file():
        for identifier, name in text.whole_names(folder / "images.txt").items():
            if identifier in model.images:
                model.images[identifier].name = name
    return model


def _read_without_points(folder: Path) -> Any:
    """Read cameras and images beside an empty points3D, which COLMAP insists on."""
    import pycolmap

    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for file in folder.iterdir():
            if file.stem in (*text.PARTS, "rigs", "frames") and file.suffix in (".bin", ".txt"):
                (copy / file.name).write_bytes(file.read_bytes())
        binary = (copy / "cameras.bin").is_file()
        (copy / ("points3D.bin" if binary else "points3D.txt")).write_bytes(bytes(8 * binary))
        return pycolmap.Reconstruction(copy)


def _file(images: Path, name: str) -> Path:
    """Return where a model says that a photograph is."""
    if "\\" in name and not (images / name).is_file():
        name = name.replace("\\", "/")
    return Path(os.path.normpath(images / name))


def _view(root: Path, images: Path, view: Any, file: Path, upright: bool) -> View:
    """Return where a registered image is and how it was taken.

    Raises KdstError for a name that leads out of the photographs' folder.
    """
    viewmat = np.eye(4)
    viewmat[:3] = view.cam_from_world().matrix()
    name = str(view.name)
    if not file.is_relative_to(os.path.normpath(images)):
        raise KdstError(f"{name!r} is named as a photograph, but lies outside {images}")
    mask = photographs.find_mask(root, name)
    return View(name, root, file, view.camera, viewmat, mask, upright)


def _track(view: Any, rows: dict[int, int]) -> torch.Tensor:
    """Return the rows (T,) of the points that a view sees."""
    seen = {rows[p.point3D_id] for p in view.points2D if p.point3D_id in rows}
    return torch.tensor(sorted(seen), dtype=torch.long)
