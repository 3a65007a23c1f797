"""Read a photograph as the model needs it: upright RGB, at the model's size, divisible sides."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from kdst_core.errors import KdstError, first_line

LONGEST = 4
"""The longest side may be this many times the shorter one."""
SHAPE = 0.02
"""Share by which the proportions of a mask may differ from those of its image."""
UNUSED_PROFILE = "The image has a colour profile that cannot be used; it was read as sRGB."
PNG, BITS_PER_SAMPLE = b"\x89PNG\r\n\x1a\n", 258
WIDE_MODES = {"I;16": 65535.0, "I;16L": 65535.0, "I;16B": 65535.0, "I;16N": 65535.0}


@frozen
class Photograph:
    """image: (3, H, W) float32 in [0, 1]. notes: what was changed, as sentences for the user."""

    image: Tensor
    notes: tuple[str, ...]


def read(path: Path | str, multiple: int, side: int) -> Photograph:
    """Read an image file and fit it to a model.

    side: length in pixels that the shorter side is brought to. multiple: what both sides are made
    divisible by. Raises KdstError in one line for a file that is no image, is damaged, or has a
    shape that cannot be fitted.
    """
    from PIL import Image

    notes: list[str] = []
    picture = _rgb(_upright(_open(Path(path)), notes), path, notes)
    size = fitted(picture.size, multiple, side, path)
    if size != picture.size:
        (w, h), (width, height) = picture.size, size
        notes.append(
            f"The image was resized from {w}×{h} to {width}×{height} pixels for the model."
        )
        if width * height > 4 * w * h:
            notes.append(
                "It was enlarged more than twofold, so it holds less detail than its size."
            )
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)
    return Photograph(pixels.permute(2, 0, 1).contiguous(), tuple(notes))


def upright_size(path: Path | str) -> tuple[int, int]:
    """Height and width of an image file, turned as the camera says."""
    width, height = _upright(_open(Path(path)), []).size
    return height, width


def read_mask(
    path: Path | str, size: tuple[int, int], shapes: Sequence[tuple[int, int]]
) -> tuple[Tensor, tuple[str, ...]]:
    """Where (H, W) a mask is white, brought to `size`, and what was changed.

    It is turned upright as a photograph is, and transparent parts count as black, so that white paint
    on a transparent layer is the mask. shapes: heights and widths of which it must have one's
    proportions. Raises KdstError when it has none of them, or cannot be read.
    """
    from PIL import Image

    notes: list[str] = []
    picture = _upright(_open(Path(path), "--mask"), notes)
    width, height = picture.size
    if not any(abs(width * h - height * w) <= SHAPE * height * w for h, w in shapes):
        wanted = " or ".join(f"{w}×{h}" for h, w in shapes)
        raise KdstError(
            f"--mask {path} is {width}×{height} pixels; it must have the proportions of the image"
            f" ({wanted}). Crop or scale it"
        )
    if picture.has_transparency_data and _holes(picture):
        notes.append("The mask has transparent parts; they count as black.")
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "black")
        picture = Image.alpha_composite(ground, layer).convert("RGB")
    picture = _grey(picture, notes).resize((size[1], size[0]), Image.Resampling.NEAREST)
    white = torch.from_numpy(np.array(picture)) >= 128
    return white, tuple(note.replace("The image", "The mask") for note in notes)


def _grey(picture: Any, notes: list[str]) -> Any:
    """A mask in 8 bits; its values are no colours, so that a colour profile does not change them."""
    from PIL import Image

    if picture.mode not in (*WIDE_MODES, "I", "F"):
        return picture.convert("RGB").convert("L")
    values = np.nan_to_num(np.asarray(picture, dtype=np.float64))
    full = WIDE_MODES.get(picture.mode) or max(values.max(), 1e-12)
    if picture.mode not in WIDE_MODES:
        notes.append(f"The mask has values up to {full:g}; from half of that on they are white.")
    return Image.fromarray((255 * values.clip(0, full) / full + 0.5).astype(np.uint8))


def fitted(
    size: tuple[int, int], multiple: int, side: int, path: Path | str = "the image"
) -> tuple[int, int]:
    """Width and height near `size`'s shape, the shorter near `side`, both divisible by `multiple`.

    Raises KdstError for an image too small to show anything or too long for the model.
    """
    short, long = sorted(size)
    if short < max(side // 8, 4):
        raise KdstError(
            f"{path} is {size[0]}×{size[1]} pixels; its shorter side must have at least"
            f" {max(side // 8, 4)} for this model, which draws {side}×{side}"
        )
    if long > LONGEST * short:
        raise KdstError(
            f"{path} is {size[0]}×{size[1]} pixels; crop it so that the longer side is at most"
            f" {LONGEST} times the shorter"
        )
    scaled = [max(round(edge * side / short / multiple), 1) * multiple for edge in size]
    return scaled[0], scaled[1]


def _open(path: Path, what: str = "image") -> Any:
    """The decoded picture; KdstError when there is none or it is damaged."""
    import warnings

    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        fault = "is a directory" if path.is_dir() else "does not exist"
        raise KdstError(f"{what} {path} {fault}; give a PNG, JPEG or WebP file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(path)
            picture.load()
    except UnidentifiedImageError as e:
        raise KdstError(f"{what} {path} cannot be read: it is no image that Pillow knows") from e
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as e:
        raise KdstError(f"{what} {path} has too many pixels; shrink it first") from e
    except (OSError, SyntaxError, ValueError, EOFError) as e:
        reason = first_line(e)
        raise KdstError(f"{what} {path} cannot be read: {reason[:120]}") from e
    return picture


def _upright(picture: Any, notes: list[str]) -> Any:
    """The first frame, turned as the camera says it was held."""
    from PIL import ExifTags, ImageOps

    if getattr(picture, "n_frames", 1) > 1:
        notes.append(f"The image has {picture.n_frames} frames; the first is used.")
    if picture.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
        notes.append("The image was turned upright, as its EXIF orientation says.")
    return ImageOps.exif_transpose(picture)


def _rgb(picture: Any, path: Path | str, notes: list[str]) -> Any:
    """The picture in three channels; transparent parts become white."""
    from PIL import Image

    if _depth(path) == 16 and picture.mode not in WIDE_MODES:
        notes.append("The image has 16 bits a channel; 8 are used.")
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return _in_srgb(picture, picture, notes)
    if picture.mode in WIDE_MODES:
        notes.append("The image has 16-bit grey values; 8 bits are used.")
        if picture.info.get("icc_profile"):
            notes.append(UNUSED_PROFILE)
        values = np.asarray(picture, dtype=np.float32) / WIDE_MODES[picture.mode]
        return Image.fromarray((255 * values + 0.5).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise KdstError(
            f"image {path} has pixels of mode {picture.mode}, whose range is not known; save it with"
            " 8 or 16 bits a channel"
        )
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        solid = _in_srgb(picture, layer.convert("RGB"), notes)
        if not _holes(picture):
            notes.append(f"The image is {picture.mode}, not RGB; it was converted.")
            return solid
        notes.append("The image has transparent parts; they were laid on white.")
        solid.putalpha(layer.getchannel("A"))
        layer = solid
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    notes.append(f"The image is {picture.mode}, not RGB; it was converted.")
    return _in_srgb(picture, picture if picture.mode in ("L", "CMYK") else None, notes)


def _holes(picture: Any) -> bool:
    """Whether some part of a picture with an alpha channel is not opaque."""
    return bool(picture.convert("RGBA").getchannel("A").getextrema()[0] < 255)


def _in_srgb(picture: Any, colours: Any, notes: list[str]) -> Any:
    """The picture in sRGB: `colours`, its pixels in the space of its colour profile, converted."""
    from PIL import ImageCms

    profile = picture.info.get("icc_profile")
    plain = picture.convert("RGB") if colours is None else colours.convert("RGB")
    if not profile:
        return plain
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = (ImageCms.getProfileDescription(given) or "unnamed").strip()
        if name.lower().startswith("srgb"):
            return plain
        target = ImageCms.createProfile("sRGB")
        pixels = plain if colours is None else colours
        done = ImageCms.profileToProfile(pixels, given, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append(UNUSED_PROFILE)
        return plain
    notes.append(f"The image was converted from its colour profile ({name[:60]}) to sRGB.")
    return done


def _depth(path: Path | str) -> int:
    """Bits a channel that the file has, as far as they are more than are read: 16 or 8."""
    from PIL import Image, UnidentifiedImageError

    try:
        with open(path, "rb") as file:
            head = file.read(26)
        if head.startswith(PNG):
            return head[24]
        with Image.open(path) as opened:
            bits = getattr(opened, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))
    except (OSError, UnidentifiedImageError, ValueError, IndexError):
        return 8
    return int(max(bits) if isinstance(bits, tuple) else bits)
