"""Read a photograph as the model needs it: upright RGB, at the model's size, divisible sides."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from kdst_core.errors import KdstError

LONGEST = 4
"""The longest side may be this many times the shorter one."""
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

    picture = _open(Path(path))
    notes: list[str] = []
    picture = _upright(picture, notes)
    picture = _rgb(picture, path, notes)
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


def _open(path: Path) -> Any:
    """The decoded picture; KdstError when there is none or it is damaged."""
    import warnings

    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise KdstError(f"image {path} {what}; give a PNG, JPEG or WebP file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(path)
            picture.load()
    except UnidentifiedImageError as e:
        raise KdstError(f"image {path} cannot be read: it is no image that Pillow knows") from e
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as e:
        raise KdstError(f"image {path} has too many pixels; shrink it first") from e
    except (OSError, SyntaxError, ValueError, EOFError) as e:
        reason = (str(e).splitlines() or ["damaged"])[0]
        raise KdstError(f"image {path} cannot be read: {reason[:120]}") from e
    return picture


def _upright(picture: Any, notes: list[str]) -> Any:
    """The first frame, turned as the camera says it was held."""
    from PIL import ExifTags, ImageOps

    if getattr(picture, "n_frames", 1) > 1:
        notes.append(f"The image has {picture.n_frames} frames; the first is used.")
    if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        notes.append("The image was turned upright, as its EXIF orientation says.")
    return ImageOps.exif_transpose(picture)


def _rgb(picture: Any, path: Path | str, notes: list[str]) -> Any:
    """The picture in three channels; transparent parts become white."""
    from PIL import Image

    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode in WIDE_MODES:
        notes.append("The image has 16-bit grey values; 8 bits are used.")
        values = np.asarray(picture, dtype=np.float32) / WIDE_MODES[picture.mode]
        return Image.fromarray((255 * values + 0.5).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise KdstError(
            f"image {path} has pixels of mode {picture.mode}, whose range is not known; save it with"
            " 8 or 16 bits a channel"
        )
    if picture.has_transparency_data:
        notes.append("The image has transparent parts; they were laid on white.")
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    notes.append(f"The image is {picture.mode}, not RGB; it was converted.")
    return picture.convert("RGB")
