"""Photographs as training needs them: without lens distortion, scaled, with what their metadata
says of the exposure and of which way up they are. No other metadata is read."""

import re
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from attrs import frozen
from PIL import ExifTags, Image, UnidentifiedImageError

from kdst_core.contracts import Camera, Capture
from kdst_core.errors import KdstError
from kdst_reconstruct.audit import check_room
from kdst_reconstruct.captures import orientation
from kdst_reconstruct.captures.stored import Photographs
from kdst_reconstruct.inputs import ReconstructInputs

LONGEST_SIDE = 1600
"""Pixels of the longer side that photographs are reduced to when the user says nothing."""
REDUCED = re.compile(r"images_[0-9]+")
"""Names of folders that hold photographs divided by a number."""
UNREADABLE = (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError)
MOST_PIXELS = 500_000_000
"""Of a photograph; phones take 200 million, which Pillow takes for an attack."""


@frozen
class View:
    """Where a photograph is and how it was taken.

    camera: a pycolmap camera, of this shape and any size. viewmat: (4, 4) world to camera, OpenCV
    axes. root: the capture's folder. upright: whether the camera was found with the photograph
    turned upright; else that is seen from its shape.
    """

    name: str
    root: Path
    file: Path
    camera: Any
    viewmat: Any
    mask: Path | None = None
    upright: bool = False


class Photograph(NamedTuple):
    """Pixels (H, W, 3) uint8 with the intrinsics (3, 3) that belong to them, without distortion.

    mask: (H, W) bool or None. laid_over: whether transparent pixels lie over the background.
    """

    pixels: Any
    K: Any
    mask: Any
    exposure: float | None
    laid_over: bool
    viewmat: Any


class _Opened(NamedTuple):
    """A photograph as its file has it; alpha (H, W) is None where all is opaque."""

    picture: Image.Image
    alpha: Any
    exposure: float | None
    turns: int
    mirrored: bool


def present(views: Sequence[View], inputs: ReconstructInputs) -> tuple[list[int], list[str]]:
    """Return the rows of the views whose photograph is there and whole, and sentences on the others and
    on masks of none.

    Raises KdstError when fewer than two are left of more.
    """
    there = [k for k, view in enumerate(views) if _is_there(view, inputs)]
    whole = [k for k in there if _is_whole(views[k], inputs)]
    gone = _names(views, set(range(len(views))) - set(there))
    broken = _names(views, set(there) - set(whole))
    of = f"of {len(views)} photographs that have a camera"
    if len(whole) < min(2, len(views)):
        if gone:
            todo = f"Put them back below {views[0].file.parent}"
            raise KdstError(f"{len(gone)} {of} are missing: {listed(gone)}.\n{todo}")
        raise KdstError(
            f"{len(broken)} {of} cannot be read as an image: {listed(broken)}.\nReplace them"
        )
    said = []
    if gone:
        said.append(f"{len(gone)} {of} are missing and skipped: {listed(gone)}.")
    if broken:
        said.append(
            f"{len(broken)} {of} are skipped, cannot be read as an image: {listed(broken)}."
            " Replace or remove such files."
        )
    if views and not views[0].upright:
        said += idle_masks(views[0].root, {view.mask for view in views})
    return whole, said


def _names(views: Sequence[View], rows: Set[int]) -> list[str]:
    """Return the names of some views."""
    return [views[k].name for k in sorted(rows)]


def listed(names: Sequence[str]) -> str:
    """Return names as text, the first of many, with what is not text in them escaped."""
    return ", ".join(map(shown, names[:8])) + (" …" if len(names) > 8 else "")


def shown(name: str) -> str:
    """Return a name with what is not text in it escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def idle_masks(root: Path, used: Set[Path | None]) -> list[str]:
    """Return a sentence on the files in masks/ that belong to no photograph, if there are any."""
    folder = root / "masks"
    found = sorted(folder.rglob("*")) if folder.is_dir() else []
    files = [f for f in found if f.is_file() and not f.name.startswith(".")]
    idle = [f.relative_to(folder).as_posix() for f in files if f not in used]
    return [
        f"{len(idle)} of {len(files)} files in {folder} are the mask of no photograph: {listed(idle)}."
        " NAME.png is looked for."
    ] * bool(idle)


def _is_there(view: View, inputs: ReconstructInputs) -> bool:
    """Return whether a view has a file to read."""
    try:
        return _file(view, inputs.downscale).is_file()
    except KdstError:
        return view.file.is_file()


def _is_whole(view: View, inputs: ReconstructInputs) -> bool:
    """Return whether the file of a view can be read to its end."""
    try:
        return is_whole(_file(view, inputs.downscale))
    except KdstError:
        return False


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
    check_room(*_sizes(views, inputs))
    read = [_photograph(view, inputs) for view in views]
    masks = [None if p.mask is None else torch.from_numpy(p.mask) for p in read]
    return Capture(
        images=Photographs([p.pixels for p in read]),
        cameras=[_camera(p, view) for p, view in zip(read, views, strict=True)],
        names=[view.name for view in views],
        masks=masks if any(m is not None for m in masks) else None,
        points=torch.from_numpy(np.asarray(points, np.float64).reshape(-1, 3)).float(),
        colors=torch.from_numpy(np.asarray(colors, np.float64).reshape(-1, 3)).float(),
        tracks=tracks,
        background=torch.full((3,), _shade(inputs)) if any(p.laid_over for p in read) else None,
    )


def _sizes(views: Sequence[View], inputs: ReconstructInputs) -> tuple[list[tuple[int, int]], int]:
    """Return width and height that each photograph is read in, and the pixels of the largest file."""
    sizes, largest = [], 0
    for view in views:
        file = _file(view, inputs.downscale)
        width, height = size_of(file, upright=True)
        turns = turns_of(view.file)[0] if view.file.is_file() else 0
        target = min(width, _target_width(view, inputs, turns, (width, height)))
        sizes.append((target, max(1, round(height * target / width))))
        largest = max(largest, width * height)
    return sizes, largest


def open_image(path: Path) -> Image.Image:
    """Open an image file of up to twice MOST_PIXELS; raises one of UNREADABLE."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MOST_PIXELS
    try:
        return Image.open(path)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def size_of(path: Path, upright: bool = False) -> tuple[int, int]:
    """Return width and height of an image file, as stored or as it is seen; KdstError when it is
    none."""
    try:
        with open_image(path) as file:
            turns = orientation.quarter_turns(file) if upright else 0
            return orientation.turned_size(file.size, turns)
    except UNREADABLE as e:
        raise KdstError(f"{path} cannot be read as an image; replace or remove it") from e


def is_whole(path: Path) -> bool:
    """Return whether a file can be read as an image to its end; a JPEG is decoded at an eighth."""
    try:
        with open_image(path) as file:
            file.draft("RGB", (max(1, file.width // 8), max(1, file.height // 8)))
            file.load()
    except UNREADABLE:
        return False
    return True


def turns_of(path: Path) -> tuple[int, bool]:
    """Return the quarter turns, counterclockwise, that bring an image file upright, and whether it is to
    be mirrored then."""
    try:
        with open_image(path) as file:
            return orientation.quarter_turns(file), orientation.is_mirrored(file)
    except UNREADABLE as e:
        raise KdstError(f"{path} cannot be read as an image; replace or remove it") from e


def find_mask(root: Path, name: str) -> Path | None:
    """Return masks/NAME.png, or with the photograph's ending replaced, where there is one."""
    folder = root / "masks"
    files = [folder / f"{name}.png", (folder / name).with_suffix(".png")]
    return next((f for f in files if f.is_file()), None)


def _photograph(view: View, inputs: ReconstructInputs) -> Photograph:
    """Read one photograph, turn it upright, take the lens distortion out and scale it."""
    file = _file(view, inputs.downscale)
    read = _open(file)
    whole = view.file.is_file()
    turns, mirrored = turns_of(view.file) if whole else (read.turns, read.mirrored)
    pixels = np.array(read.picture)
    mask = _mask(view, read.picture.size, turns, mirrored)
    laid_over = read.alpha is not None and inputs.alpha != "mask"
    if laid_over:
        share = read.alpha[..., None] / 255
        pixels = np.round(share * pixels + (1 - share) * 255 * _shade(inputs)).astype(np.uint8)
    elif read.alpha is not None:
        shown = read.alpha > 127
        mask = shown if mask is None else mask & shown
    early = (turns != 0 or mirrored) and _sees_upright(view, read.picture.size, turns)
    if early:
        pixels = orientation.turn_pixels(pixels, turns, mirrored)
        mask = None if mask is None else orientation.turn_pixels(mask, turns, mirrored)
    camera = _fitted_camera(view.camera, (pixels.shape[1], pixels.shape[0]), file)
    if not np.isfinite(np.array(camera.params)).all():
        raise KdstError(
            f"the camera of {view.name} has a value that is not finite; remove the view"
        )
    if not _is_pinhole(camera):
        pixels, mask, camera = _undistort(pixels, mask, camera, view.name)
    K, viewmat = np.array(camera.calibration_matrix()), view.viewmat
    if not (K[0, 0] > 0 and K[1, 1] > 0):
        raise KdstError(
            f"the camera of {view.name} has the focal lengths {K[0, 0]:g} and {K[1, 1]:g}; they must be"
            " above 0"
        )
    if turns and not early:
        K, viewmat = orientation.turn_camera(K, viewmat, (pixels.shape[1], pixels.shape[0]), turns)
        pixels = orientation.turn_pixels(pixels, turns)
        mask = None if mask is None else orientation.turn_pixels(mask, turns)
    height, width = pixels.shape[:2]
    target = _target_width(view, inputs, turns, (width, height))
    if target < width:
        size = (target, max(1, round(height * target / width)))
        K[0] *= size[0] / width
        K[1] *= size[1] / height
        pixels = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
        if mask is not None:
            mask = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    exposure = read.exposure if inputs.exif else None
    return Photograph(pixels, K, mask, exposure, laid_over, viewmat)


def _target_width(view: View, inputs: ReconstructInputs, turns: int, size: tuple[int, int]) -> int:
    """Return the width to scale an upright photograph of a size to."""
    if inputs.width:
        return inputs.width
    if inputs.downscale > 1:
        target = round(_full_width(view, turns) / inputs.downscale)
        if target < 1:
            raise KdstError(
                f"--downscale {inputs.downscale} leaves nothing of {view.name}; give less"
            )
        return target
    return round(size[0] * min(1.0, LONGEST_SIDE / max(size)))


def _sees_upright(view: View, size: tuple[int, int], turns: int) -> bool:
    """Return whether a view's camera belongs to the photograph turned upright, by its shape; where
    both shapes are alike it belongs to what is stored, as COLMAP reads files. A photograph that is to
    be seen mirrored is mirrored in the first case only: else the camera would not fit."""
    if view.upright:
        return True
    shape = view.camera.width / view.camera.height
    stored = size[0] / size[1]
    width, height = orientation.turned_size(size, turns)
    seen = width / height
    return bool(abs(np.log(shape / seen)) < abs(np.log(shape / stored)) - 1e-3)


def _shade(inputs: ReconstructInputs) -> float:
    """Return the brightness of what lies behind transparent pixels."""
    return 1.0 if inputs.alpha == "white" else 0.0


def _full_width(view: View, turns: int) -> int:
    """Return the width of the whole upright photograph, by its camera where only a smaller file is
    left, be it that of images_N/ in place of the photograph."""
    inside = view.file.is_relative_to(view.root) and not view.upright
    folders = view.file.relative_to(view.root).parts[:-1] if inside else ()
    if view.file.is_file() and not any(map(REDUCED.fullmatch, folders)):
        return size_of(view.file, upright=True)[0]
    size = (int(view.camera.width), int(view.camera.height))
    return size[0] if view.upright else orientation.turned_size(size, turns)[0]


def _file(view: View, downscale: int) -> Path:
    """Return the file to read: of images_N/ where it is there and has the right size.

    Raises KdstError for one that is missing.
    """
    inside = view.file.is_relative_to(view.root)
    parts = view.file.relative_to(view.root).parts if inside else ()
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
        with open_image(path) as file:
            exif = file.getexif().get_ifd(ExifTags.IFD.Exif)
            turns, mirrored = orientation.quarter_turns(file), orientation.is_mirrored(file)
            transparent = file.has_transparency_data
            picture = eight_bits(file).convert("RGBA" if transparent else "RGB")
    except UNREADABLE as e:
        raise KdstError(f"{path} cannot be read as an image; replace or remove it") from e
    alpha = np.array(picture.getchannel("A")) if transparent else None
    if alpha is not None and alpha.min() == 255:
        alpha = None
    return _Opened(picture.convert("RGB"), alpha, _exposure(exif), turns, mirrored)


def eight_bits(picture: Image.Image) -> Image.Image:
    """Return a PIL image whose values go to 255; 16 bits, 32 bits and floats are scaled to it."""
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return picture
    values = np.nan_to_num(np.asarray(picture, np.float64))
    most = 1.0 if picture.mode == "F" and values.max() <= 1 else 255.0
    most = 65535.0 if picture.mode.startswith("I") or values.max() > 255 else most
    return Image.fromarray(np.round(values.clip(0, most) * (255 / most)).astype(np.uint8))


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


def _undistort(pixels: Any, mask: Any, camera: Any, name: str) -> tuple[Any, Any, Any]:
    """Return pixels and mask as a pinhole camera sees them, and that camera.

    Raises KdstError for a distortion so strong that the picture shrinks as far as COLMAP lets it.
    """
    import pycolmap

    options = pycolmap.UndistortCameraOptions()
    bitmap, pinhole = pycolmap.undistort_image(options, pycolmap.Bitmap.from_array(pixels), camera)
    sides = ((pinhole.width, camera.width), (pinhole.height, camera.height))
    if all(side <= options.min_scale * whole + 1 for side, whole in sides):
        raise KdstError(
            f"the lens distortion of {name} leaves nothing of the picture; correct its camera, or remove"
            " the view"
        )
    if mask is not None:
        grey = pycolmap.Bitmap.from_array((255 * mask).astype(np.uint8))
        mask = pycolmap.undistort_image(options, grey, camera)[0].to_array() > 127
        mask = mask.reshape(mask.shape[:2])
    return bitmap.to_array(), mask, pinhole


def _mask(view: View, size: tuple[int, int], turns: int, mirrored: bool) -> Any:
    """Return the mask (H, W) of a photograph as stored, True where it counts, or None without one.

    It has the size of the whole photograph or of the file that is read, stored or upright.
    """
    if view.mask is None:
        return None
    try:
        with open_image(view.mask) as file:
            grey = file.convert("L")
    except UNREADABLE as e:
        raise KdstError(f"{view.mask} cannot be read as an image; replace or remove it") from e
    whole = size_of(view.file) if view.file.is_file() else size
    sizes = (size, whole)
    upright = [orientation.turned_size(s, turns) for s in sizes]
    if grey.size in upright and grey.size not in sizes:
        seen = np.array(grey)
        grey = Image.fromarray(np.rot90(seen[:, ::-1] if mirrored else seen, -turns))
    if grey.size not in sizes:
        raise KdstError(
            f"{view.mask} is {grey.width}×{grey.height}, its photograph {whole[0]}×{whole[1]};"
            " they must agree"
        )
    return np.array(grey.resize(size, Image.Resampling.NEAREST)) > 127


def _camera(photograph: Photograph, view: View) -> Camera:
    """Return the contract's camera of a view; KdstError for a pose that is not finite."""
    if not np.isfinite(photograph.viewmat).all():
        raise KdstError(f"the pose of {view.name} is not finite; remove that view")
    height, width = photograph.pixels.shape[:2]
    K, pose = (
        torch.from_numpy(photograph.K).float(),
        torch.from_numpy(np.ascontiguousarray(photograph.viewmat)).float(),
    )
    return Camera(K, pose, width, height, photograph.exposure)
