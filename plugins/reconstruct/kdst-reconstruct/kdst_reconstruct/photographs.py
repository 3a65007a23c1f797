"""Photographs as training needs them: without lens distortion, scaled, with what their metadata
says of the exposure. They keep the sensor's orientation, and no other metadata is read."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from attrs import frozen
from PIL import ExifTags, Image, UnidentifiedImageError

from kdst_core.contracts import Camera, Capture
from kdst_core.errors import KdstError
from kdst_reconstruct.inputs import ReconstructInputs

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
UNREADABLE = (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError)


@frozen
class View:
    """Where a photograph is and how it was taken.

    camera: a pycolmap camera, of this shape and any size. viewmat: (4, 4) world to camera, OpenCV
    axes. root: the capture's folder.
    """

    name: str
    root: Path
    file: Path
    camera: Any
    viewmat: Any
    mask: Path | None = None


class Photograph(NamedTuple):
    """Pixels (H, W, 3) uint8 with the intrinsics (3, 3) that belong to them, without distortion.

    mask: (H, W) bool or None. laid_over: whether transparent pixels lie over the background.
    """

    pixels: Any
    K: Any
    mask: Any
    exposure: float | None
    laid_over: bool


class _Opened(NamedTuple):
    """A photograph as its file has it; alpha (H, W) is None where all is opaque."""

    picture: Image.Image
    alpha: Any
    exposure: float | None


def capture(
    views: Sequence[View],
    inputs: ReconstructInputs,
    points: Any = (),
    colors: Any = (),
    tracks: Sequence[torch.Tensor] | None = None,
) -> Capture:
    """Read all views; points (P, 3) and colors (P, 3) in [0, 1] are those of the capture.

    Raises KdstError for a photograph, mask or camera that cannot be used.
    """
    read = [_photograph(view, inputs) for view in views]
    masks = [None if p.mask is None else torch.from_numpy(p.mask) for p in read]
    return Capture(
        images=[torch.from_numpy(p.pixels).float() / 255 for p in read],
        cameras=[_camera(p, view) for p, view in zip(read, views, strict=True)],
        names=[view.name for view in views],
        masks=masks if any(m is not None for m in masks) else None,
        points=torch.from_numpy(np.asarray(points, np.float64).reshape(-1, 3)).float(),
        colors=torch.from_numpy(np.asarray(colors, np.float64).reshape(-1, 3)).float(),
        tracks=tracks,
        background=torch.full((3,), _shade(inputs)) if any(p.laid_over for p in read) else None,
    )


def size_of(path: Path) -> tuple[int, int]:
    """Return width and height of an image file; KdstError when it is none."""
    try:
        with Image.open(path) as file:
            return file.width, file.height
    except UNREADABLE as e:
        raise KdstError(f"{path} cannot be read as an image; replace or remove it") from e


def find_mask(root: Path, name: str) -> Path | None:
    """Return masks/NAME.png, or with the photograph's ending replaced, where there is one."""
    folder = root / "masks"
    files = [folder / f"{name}.png", (folder / name).with_suffix(".png")]
    return next((f for f in files if f.is_file()), None)


def _photograph(view: View, inputs: ReconstructInputs) -> Photograph:
    """Read one photograph, take the lens distortion out and scale it."""
    file = _file(view, inputs.downscale)
    opened = _open(file)
    pixels = np.array(opened.picture)
    camera = _fitted_camera(view.camera, opened.picture.size, file)
    mask = _mask(view, opened.picture.size)
    laid_over = opened.alpha is not None and inputs.alpha != "mask"
    if laid_over:
        share = opened.alpha[..., None] / 255
        pixels = np.round(share * pixels + (1 - share) * 255 * _shade(inputs)).astype(np.uint8)
    elif opened.alpha is not None:
        shown = opened.alpha > 127
        mask = shown if mask is None else mask & shown
    if not _is_pinhole(camera):
        pixels, mask, camera = _undistort(pixels, mask, camera)
    K = np.array(camera.calibration_matrix())
    if not np.isfinite(K).all():
        raise KdstError(
            f"the camera of {view.name} has a value that is not finite; remove the view"
        )
    height, width = pixels.shape[:2]
    target = inputs.width or round(_full_width(view) / inputs.downscale)
    if target < width:
        size = (target, max(1, round(height * target / width)))
        K[0] *= size[0] / width
        K[1] *= size[1] / height
        pixels = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
        if mask is not None:
            mask = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    return Photograph(pixels, K, mask, opened.exposure if inputs.exif else None, laid_over)


def _shade(inputs: ReconstructInputs) -> float:
    """Return the brightness of what lies behind transparent pixels."""
    return 1.0 if inputs.alpha == "white" else 0.0


def _full_width(view: View) -> int:
    """Return the width of the whole photograph, by its camera where only a smaller file is left."""
    return size_of(view.file)[0] if view.file.is_file() else int(view.camera.width)


def _file(view: View, downscale: int) -> Path:
    """Return the file to read: of images_N/ where it is there and has the right size.

    Raises KdstError for one outside the capture's folder, or missing.
    """
    if not Path(os.path.normpath(view.file)).is_relative_to(os.path.normpath(view.root)):
        raise KdstError(f"{view.name!r} is named as a photograph, but lies outside {view.root}")
    parts = view.file.relative_to(view.root).parts
    if downscale > 1 and "images" in parts[:-1]:
        renamed = (f"images_{downscale}" if part == "images" else part for part in parts)
        small = view.root.joinpath(*renamed)
        if small.is_file() and _is_smaller(small, view.file, downscale):
            return small
    if not view.file.is_file():
        raise KdstError(f"{view.file} is missing, though it has a camera; put the photograph back")
    return view.file


def _is_smaller(small: Path, full: Path, downscale: int) -> bool:
    """Return whether an image is another one divided by `downscale`; true when that is gone."""
    if not full.is_file():
        return True
    sides = zip(size_of(small), size_of(full), strict=True)
    return all(abs(side - whole / downscale) <= 1 for side, whole in sides)


def _open(path: Path) -> _Opened:
    """Read a photograph with its exposure (seconds · ISO / f-number²), None where not known."""
    try:
        with Image.open(path) as file:
            exif = file.getexif().get_ifd(ExifTags.IFD.Exif)
            transparent = file.has_transparency_data
            picture = file.convert("RGBA" if transparent else "RGB")
    except UNREADABLE as e:
        raise KdstError(f"{path} cannot be read as an image; replace or remove it") from e
    alpha = np.array(picture.getchannel("A")) if transparent else None
    if alpha is not None and alpha.min() == 255:
        alpha = None
    return _Opened(picture.convert("RGB"), alpha, _exposure(exif))


def _exposure(exif: Any) -> float | None:
    """Return the exposure that metadata gives, or None."""
    tags = (ExifTags.Base.ExposureTime, ExifTags.Base.ISOSpeedRatings, ExifTags.Base.FNumber)
    try:
        seconds, iso, f_number = (float(exif[tag]) for tag in tags)
        exposure = seconds * iso / f_number**2
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return exposure if 0 < exposure < float("inf") else None


def _fitted_camera(camera: Any, size: tuple[int, int], path: Path) -> Any:
    """Return a camera scaled to a photograph's size; KdstError when shapes differ."""
    import pycolmap

    if (camera.width, camera.height) == size:
        return camera
    ratio = size[0] / camera.width
    if abs(ratio * camera.height - size[1]) > 1 + ratio:
        raise KdstError(
            f"{path} is {size[0]}×{size[1]}, its camera {camera.width}×{camera.height}: another"
            " shape.\nGive the photographs that the cameras were found with"
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


def _mask(view: View, size: tuple[int, int]) -> Any:
    """Return the mask (H, W) of a photograph, True where it counts, or None without one.

    It has the size of the whole photograph or of the file that is read.
    """
    if view.mask is None:
        return None
    try:
        with Image.open(view.mask) as file:
            grey = file.convert("L")
    except UNREADABLE as e:
        raise KdstError(f"{view.mask} cannot be read as an image; replace or remove it") from e
    whole = size_of(view.file) if view.file.is_file() else size
    if grey.size not in (size, whole):
        raise KdstError(
            f"{view.mask} is {grey.width}×{grey.height}, its photograph {whole[0]}×{whole[1]};"
            " they must agree"
        )
    return np.array(grey.resize(size, Image.Resampling.NEAREST)) > 127


def _camera(photograph: Photograph, view: View) -> Camera:
    """Return the contract's camera of a view; KdstError for a pose that is not finite."""
    if not np.isfinite(view.viewmat).all():
        raise KdstError(f"the pose of {view.name} is not finite; remove that view")
    height, width = photograph.pixels.shape[:2]
    K, pose = torch.from_numpy(photograph.K).float(), torch.from_numpy(view.viewmat).float()
    return Camera(K, pose, width, height, photograph.exposure)
