"""COLMAP folders: photographs with cameras and points, any camera model, as a capture."""

import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError

from kdst_core.contracts import Camera, Capture
from kdst_core.errors import KdstError
from kdst_reconstruct.inputs import ReconstructInputs

PARTS = ("cameras", "images", "points3D")


class Photograph(NamedTuple):
    """Pixels (H, W, 3) uint8 with the intrinsics (3, 3) that belong to them, without distortion."""

    pixels: Any
    K: Any
    mask: Any
    exposure: float | None


def load(inputs: ReconstructInputs) -> Capture:
    """Read the folder that `inputs.data` names; KdstError says what is missing or broken.

    Views are in name order. Photographs keep the sensor's orientation, as COLMAP sees them.
    """
    root = Path(inputs.data).expanduser()
    if not root.is_dir():
        raise KdstError(f"--data {inputs.data}: no such folder; give solids or a COLMAP folder")
    model = _read_model(_model_folder(root))
    views = sorted(model.images.values(), key=lambda view: str(view.name))
    if not views:
        raise KdstError(f"{root}: the COLMAP model has no registered images; run its mapper again")
    photographs = [_photograph(root, view, inputs) for view in views]
    rows = {identifier: row for row, identifier in enumerate(model.points3D)}
    points = np.array([p.xyz for p in model.points3D.values()]).reshape(-1, 3)
    if not np.isfinite(points).all():
        raise KdstError(f"{root}: a point of the COLMAP model is not finite; remove it")
    colors = np.array([p.color for p in model.points3D.values()]).reshape(-1, 3) / 255
    masks = [None if p.mask is None else torch.from_numpy(p.mask) for p in photographs]
    return Capture(
        images=[torch.from_numpy(p.pixels).float() / 255 for p in photographs],
        cameras=[_camera(p, view) for p, view in zip(photographs, views, strict=True)],
        names=[str(view.name) for view in views],
        masks=masks if any(m is not None for m in masks) else None,
        points=torch.from_numpy(points).float(),
        colors=torch.from_numpy(colors).float(),
        tracks=[_track(view, rows) for view in views],
    )


def _model_folder(root: Path) -> Path:
    """Return the folder of the sparse model; KdstError that names what a capture looks like."""
    if not (root / "images").is_dir():
        raise KdstError(f"{root} has no images/ folder; a capture is images/ and sparse/0")
    for folder in (root / "sparse" / "0", root / "sparse", root):
        for suffix in (".bin", ".txt"):
            if (folder / f"cameras{suffix}").is_file():
                missing = [p for p in PARTS if not (folder / f"{p}{suffix}").is_file()]
                if missing:
                    names = ", ".join(f"{p}{suffix}" for p in missing)
                    raise KdstError(f"{folder} lacks {names}; copy the whole COLMAP model")
                return folder
    raise KdstError(
        f"{root} has photographs but no cameras: sparse/0 with cameras, images and points3D is"
        " missing.\nRun COLMAP on images/ first"
    )


def _read_model(folder: Path) -> Any:
    """Read a COLMAP model."""
    import pycolmap

    if (folder / "points3D.bin").is_file():
        _check_points(folder / "points3D.bin")
    try:
        with pycolmap.ostream():
            return pycolmap.Reconstruction(folder)
    except Exception as e:
        reason = (str(e).splitlines() or [""])[0]
        raise KdstError(f"{folder} cannot be read as a COLMAP model: {reason[-160:]}") from e


def _check_points(path: Path) -> None:
    """Raise KdstError when points3D.bin ends early."""
    data = path.read_bytes()
    end = 8
    count = struct.unpack_from("<Q", data)[0] if len(data) >= 8 else 1
    for number in range(count):
        if end + 51 > len(data):
            raise KdstError(f"{path} is truncated: {number} of {count} points are there")
        end += 51 + 8 * struct.unpack_from("<Q", data, end + 43)[0]
    if end > len(data):
        raise KdstError(f"{path} is truncated: the last of its {count} points is cut off")


def _photograph(root: Path, view: Any, inputs: ReconstructInputs) -> Photograph:
    """Read one photograph, take the lens distortion out and scale it."""
    file = _image_file(root, str(view.name), inputs.downscale)
    picture, exposure = _open(file)
    pixels = np.array(picture)
    camera = _fitted_camera(view.camera, picture.size, file)
    mask = _mask(root, str(view.name), picture.size)
    if not _is_pinhole(camera):
        pixels, mask, camera = _undistort(pixels, mask, camera)
    K = np.array(camera.calibration_matrix())
    if not np.isfinite(K).all():
        raise KdstError(
            f"the camera of {view.name} has a value that is not finite; remove the view"
        )
    height, width = pixels.shape[:2]
    target = inputs.width or round(view.camera.width / inputs.downscale)
    if target < width:
        size = (target, max(1, round(height * target / width)))
        K[0] *= size[0] / width
        K[1] *= size[1] / height
        pixels = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
        if mask is not None:
            mask = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    return Photograph(pixels, K, mask, exposure if inputs.exif else None)


def _image_file(root: Path, name: str, downscale: int) -> Path:
    """Return the photograph's file, of images_N/ where there is one for this downscale."""
    small = root / f"images_{downscale}" / name
    path = small if downscale > 1 and small.is_file() else root / "images" / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise KdstError(f"the COLMAP model names {name!r}, which is outside {root}")
    if not path.is_file():
        raise KdstError(
            f"{path} is missing, though the COLMAP model has it; put the photograph back"
        )
    return path


def _open(path: Path) -> tuple[Image.Image, float | None]:
    """Read a photograph as RGB, with its exposure (seconds · ISO / f-number²) or None."""
    try:
        with Image.open(path) as file:
            exif = file.getexif().get_ifd(ExifTags.IFD.Exif)
            picture = file.convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError) as e:
        raise KdstError(f"{path} cannot be read as an image; replace or remove it") from e
    tags = (ExifTags.Base.ExposureTime, ExifTags.Base.ISOSpeedRatings, ExifTags.Base.FNumber)
    try:
        seconds, iso, f_number = (float(exif[tag]) for tag in tags)
        exposure = seconds * iso / f_number**2
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return picture, None
    return picture, exposure if 0 < exposure < float("inf") else None


def _fitted_camera(camera: Any, size: tuple[int, int], path: Path) -> Any:
    """Return a COLMAP camera scaled to a photograph's size; KdstError when shapes differ."""
    import pycolmap

    if (camera.width, camera.height) == size:
        return camera
    ratio = size[0] / camera.width
    if abs(ratio * camera.height - size[1]) > 1 + ratio:
        raise KdstError(
            f"{path} is {size[0]}×{size[1]}, its camera {camera.width}×{camera.height}: another"
            " shape.\nGive the photographs that COLMAP was run on"
        )
    scaled = pycolmap.Camera(camera.todict())
    scaled.rescale(*size)
    return scaled


def _is_pinhole(camera: Any) -> bool:
    """Return whether a camera has no distortion."""
    return str(camera.model).rpartition(".")[2] in ("PINHOLE", "SIMPLE_PINHOLE")


def _undistort(pixels: Any, mask: Any, camera: Any) -> tuple[Any, Any, Any]:
    """Return pixels and mask as a pinhole camera sees them, and that camera."""
    import pycolmap

    options = pycolmap.UndistortCameraOptions()
    bitmap, pinhole = pycolmap.undistort_image(options, pycolmap.Bitmap.from_array(pixels), camera)
    if mask is not None:
        grey = pycolmap.Bitmap.from_array((255 * mask).astype(np.uint8))
        mask = pycolmap.undistort_image(options, grey, camera)[0].to_array() > 127
        mask = mask.reshape(mask.shape[:2])
    return bitmap.to_array(), mask, pinhole


def _mask(root: Path, name: str, size: tuple[int, int]) -> Any:
    """Return the mask (H, W) of a photograph, True where it counts, or None without one."""
    folder = root / "masks"
    files = [folder / f"{name}.png", (folder / name).with_suffix(".png")]
    path = next((f for f in files if f.is_file()), None)
    if path is None:
        return None
    try:
        with Image.open(path) as file:
            mask = np.array(file.convert("L")) > 127
    except (OSError, UnidentifiedImageError, SyntaxError) as e:
        raise KdstError(f"{path} cannot be read as an image; replace or remove it") from e
    if mask.shape != (size[1], size[0]):
        raise KdstError(
            f"{path} is {mask.shape[1]}×{mask.shape[0]}, its photograph {size[0]}×{size[1]};"
            " they must agree"
        )
    return mask


def _camera(photograph: Photograph, view: Any) -> Camera:
    """Return the contract's camera of a view; KdstError for a pose that is not finite."""
    viewmat = np.eye(4)
    viewmat[:3] = view.cam_from_world().matrix()
    if not np.isfinite(viewmat).all():
        raise KdstError(f"the pose of {view.name} is not finite; remove that view from the model")
    height, width = photograph.pixels.shape[:2]
    K, pose = torch.from_numpy(photograph.K).float(), torch.from_numpy(viewmat).float()
    return Camera(K, pose, width, height, photograph.exposure)


def _track(view: Any, rows: dict[int, int]) -> torch.Tensor:
    """Return the rows (T,) of the points that a view sees."""
    seen = {rows[p.point3D_id] for p in view.points2D if p.has_point3D()}
    return torch.tensor(sorted(seen), dtype=torch.long)
