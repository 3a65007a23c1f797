"""Captures in `transforms.json`, as nerfstudio and Blender's synthetic scenes write them.

Their poses are camera to world in OpenGL's axes (x right, y up, z backward); ours are world to
camera in OpenCV's.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdst_core.contracts import Capture
from kdst_core.errors import KdstError
from kdst_reconstruct.captures import photographs
from kdst_reconstruct.captures.named import SUFFIXES, matched
from kdst_reconstruct.captures.photographs import View
from kdst_reconstruct.inputs import ReconstructInputs

NERFSTUDIO, TRAIN, TEST = "transforms.json", "transforms_train.json", "transforms_test.json"
FOCAL = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y")
LARGEST = 1e9
"""No number of a camera is larger."""
OPENCV = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")


class Split(NamedTuple):
    """A capture and the indices of the views that its authors keep for testing."""

    capture: Capture
    test: list[int]
    said: list[str]


def is_capture(root: Path) -> bool:
    """Return whether a folder holds one."""
    return (root / NERFSTUDIO).is_file() or (root / TRAIN).is_file()


def load(root: Path, inputs: ReconstructInputs) -> Split:
    """Read transforms.json, or transforms_train.json with transforms_test.json.

    Views are in name order, those for testing last. Missing photographs are skipped, and `said`
    tells of them. Raises KdstError for what cannot be used.
    """
    root = Path(os.path.abspath(root))
    if (root / NERFSTUDIO).is_file():
        scene = _read(root / NERFSTUDIO)
        kept = _named(scene, root / NERFSTUDIO)
        views, repeated = _once(_views(root, root / NERFSTUDIO, scene))
        tested = [v for v in views if any(_same(v, root, name) for name in kept)]
        unknown = sorted(n for n in kept if not any(_same(v, root, n) for v in tested))
        trained = [v for v in views if v not in tested]
        points, colors = _points(root, scene)
    else:
        trained, repeated = _once(_views(root, root / TRAIN, _read(root / TRAIN)))
        unknown = []
        there = (root / TEST).is_file()
        tested = _views(root, root / TEST, _read(root / TEST)) if there else []
        points, colors = np.zeros((0, 3)), np.zeros((0, 3))
    views = [*trained, *tested]
    kept_rows, gone = photographs.present(views, inputs)
    said = [*_said(repeated, unknown), *gone]
    test = [row for row, k in enumerate(kept_rows) if k >= len(trained)]
    apart = {str(v.file.parent) for v in views if not v.file.is_relative_to(root)}
    if apart:
        said.append(
            f"Photographs are read from {', '.join(sorted(apart))}, as the file names them."
        )
    return Split(
        photographs.capture([views[k] for k in kept_rows], inputs, points, colors), test, said
    )


def _named(scene: Mapping[str, Any], path: Path) -> set[str]:
    """Return the names of photographs that a scene keeps for validation and testing."""
    found: set[str] = set()
    for key in ("val_filenames", "test_filenames"):
        names = scene.get(key) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise KdstError(f"{path}: {key} is no list of names")
        found |= set(names)
    return found


def _once(views: list[View]) -> tuple[list[View], list[str]]:
    """Return the first view of each photograph, and the names of those that have several."""
    first: dict[Path, View] = {}
    repeated = []
    for view in views:
        if first.setdefault(view.file, view) is not view:
            repeated.append(view.name)
    return list(first.values()), sorted(set(repeated))


def _said(repeated: list[str], unknown: list[str]) -> list[str]:
    """Return sentences on photographs with several frames, and on names for testing without one."""
    said = []
    if repeated:
        names = ", ".join(repeated[:8]) + (" …" if len(repeated) > 8 else "")
        said.append(f"Several frames name one photograph, and the first of them is used: {names}.")
    if unknown:
        names = ", ".join(unknown[:8]) + (" …" if len(unknown) > 8 else "")
        said.append(f"Names to hold out that no frame has, so that they hold out nothing: {names}.")
    return said


def _read(path: Path) -> dict[str, Any]:
    """Return a JSON object with frames."""
    try:
        scene = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as e:
        raise KdstError(f"{path} cannot be read as JSON: {str(e)[:120]}") from e
    if not isinstance(scene, dict) or not isinstance(scene.get("frames"), list):
        raise KdstError(f'{path} has no list "frames"; it is no capture')
    if not scene["frames"]:
        raise KdstError(f"{path} lists no frames")
    return scene


def _views(root: Path, path: Path, scene: Mapping[str, Any]) -> list[View]:
    """Return the views of a scene in name order."""
    views = []
    for number, frame in enumerate(scene["frames"]):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise KdstError(f"{path}: frame {number} has no file_path")
    asked = [_photograph(root, frame["file_path"]) for frame in scene["frames"]]
    for frame, file in zip(scene["frames"], matched(asked, root), strict=True):
        name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
        mask = root / frame["mask_path"] if isinstance(frame.get("mask_path"), str) else None
        if mask is None:
            mask = photographs.find_mask(root, file.name)
        elif not mask.is_file():
            raise KdstError(f"{path}: the mask {mask} of {name} is missing")
        camera = _camera(_joined(scene, frame), file, path)
        views.append(View(name, root, file, camera, _viewmat(frame, name, path), mask))
    return sorted(views, key=lambda view: view.name)


def _joined(scene: Mapping[str, Any], frame: Mapping[str, Any]) -> dict[str, Any]:
    """Return what holds for a frame: its own values, and those of the scene that it does not say.

    A focal length and a field of view say the same, and one of x alone holds for y too.
    """
    axes = {key[-1] for key in FOCAL if key in frame}
    axes |= {"y"} if axes == {"x"} else set()
    kept = {k: v for k, v in scene.items() if k not in FOCAL or k[-1] not in axes}
    return {**kept, **frame}


def _photograph(root: Path, name: str) -> Path:
    """Return a frame's file, absolute; Blender's scenes leave the ending out.

    A file may lie anywhere, but must be named as a photograph. Raises KdstError for another.
    """
    file = Path(os.path.normpath(root / name))
    if "\\" in name and not file.is_file():
        file = Path(os.path.normpath(root / name.replace("\\", "/")))
    if file.name and not file.is_file() and file.suffix.lower() not in SUFFIXES:
        file = file.with_name(file.name + ".png")
    if file.suffix.lower() not in SUFFIXES:
        raise KdstError(f"{name!r} is named as a photograph, but its ending is not that of one")
    return file


def _same(view: View, root: Path, name: str) -> bool:
    """Return whether a list of names means this view."""
    file = _photograph(root, name)
    return view.file in (file, *matched([file], root))


def _viewmat(frame: Mapping[str, Any], name: str, path: Path) -> Any:
    """Return the world-to-camera matrix (4, 4), OpenCV axes, of a frame."""
    try:
        pose = np.array(frame["transform_matrix"], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        pose = np.zeros(0)
    if pose.shape not in ((4, 4), (3, 4)):
        raise KdstError(f"{path}: the transform_matrix of {name} is not 4×4 numbers")
    if not np.isfinite(pose).all():
        raise KdstError(f"the pose of {name} is not finite; remove that view")
    rotation = pose[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        raise KdstError(f"{path}: the transform_matrix of {name} does not begin with a rotation")
    if len(pose) == 4 and np.abs(pose[3] - (0, 0, 0, 1)).max() > 1e-3:
        raise KdstError(f"{path}: the transform_matrix of {name} does not end in the row 0 0 0 1")
    flipped = rotation * np.array([1.0, -1.0, -1.0])
    viewmat = np.eye(4)
    viewmat[:3, :3] = flipped.T
    viewmat[:3, 3] = -flipped.T @ pose[:3, 3]
    return viewmat


def _camera(values: Mapping[str, Any], file: Path, path: Path) -> Any:
    """Return the pycolmap camera of a frame; what it does not say holds for the whole scene."""
    import pycolmap

    def number(key: str, default: float) -> float:
        value = default if values.get(key) is None else values[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise KdstError(f"{path}: {key} is {value!r}, not a number")
        if not abs(value) < LARGEST:
            raise KdstError(
                f"{path}: {key} is {value!r}; it must be finite, and no larger than 1e9"
            )
        return float(value)

    said = {side: number(side, 0) for side in ("w", "h") if values.get(side) is not None}
    width, height = _size(said, file)
    if width < 1 or height < 1:
        raise KdstError(f"{path}: {file.name} has no size; give w and h")
    fx, fy = _focal(number, "x", width), _focal(number, "y", height)
    fx, fy = fx or fy, fy or fx
    if not (math.isfinite(fx) and math.isfinite(fy) and fx > 0 and fy > 0):
        raise KdstError(f"{path}: {file.name} has no focal length; give fl_x or camera_angle_x")
    params = [fx, fy, number("cx", width / 2), number("cy", height / 2)]
    k1, k2, k3, k4, p1, p2 = (number(key, 0) for key in ("k1", "k2", "k3", "k4", "p1", "p2"))
    round_ = values.get("is_fisheye") is True
    model = str(values.get("camera_model") or ("OPENCV_FISHEYE" if round_ else "OPENCV")).upper()
    if model == "OPENCV_FISHEYE":
        params += [k1, k2, k3, k4]
    elif model not in OPENCV or k4:
        raise KdstError(
            f"{path}: cameras of model {model}{' with k4' * bool(k4)} are not read;"
            f" {', '.join(OPENCV)} (without k4) and OPENCV_FISHEYE are"
        )
    elif k3:
        model, params = "FULL_OPENCV", [*params, k1, k2, p1, p2, k3, 0, 0, 0]
    elif any((k1, k2, p1, p2)):
        model, params = "OPENCV", [*params, k1, k2, p1, p2]
    else:
        model = "PINHOLE"
    return pycolmap.Camera(model=model, width=width, height=height, params=params)


def _size(said: Mapping[str, float], file: Path) -> tuple[int, int]:
    """Return width and height that a camera was found with; what is not said (w, h) follows from the
    photograph's shape, and is 0 where that is missing too."""
    whole = photographs.size_of(file) if len(said) < 2 and file.is_file() else (0, 0)
    sides = dict(zip("wh", whole, strict=True))
    scale = next((value / sides[side] for side, value in said.items() if sides[side]), 1.0)
    width, height = (said.get(side, scale * sides[side]) for side in "wh")
    return round(width), round(height)


def _focal(number: Any, axis: str, side: int) -> float:
    """Return a focal length in pixels from fl_ or camera_angle_, 0 where neither is given."""
    angle = number(f"camera_angle_{axis}", 0.0)
    seen = 0.5 * side / math.tan(0.5 * angle) if 0 < angle < math.pi else 0.0
    return float(number(f"fl_{axis}", seen))


def _points(root: Path, scene: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return positions and colours (P, 3) of the point cloud that a scene names, if any."""
    from plyfile import PlyData, PlyParseError

    name = scene.get("ply_file_path")
    if not isinstance(name, str):
        return np.zeros((0, 3)), np.zeros((0, 3))
    try:
        table = PlyData.read(root / name)["vertex"].data
        positions = np.stack([table[axis] for axis in "xyz"], -1).astype(np.float64)
        colors = np.stack([table[c] for c in ("red", "green", "blue")], -1) / 255
    except (OSError, PlyParseError, KeyError, ValueError) as e:
        raise KdstError(
            f"{root / name} cannot be read as a point cloud with colours (x y z, red green blue)"
        ) from e
    finite = np.isfinite(positions).all(1)
    return positions[finite], colors[finite]
