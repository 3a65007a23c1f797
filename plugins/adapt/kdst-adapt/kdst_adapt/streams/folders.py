"""Folders of images, one a class: which files are read, what is left out, how a file becomes pixels."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from kdst_core.errors import KdstError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".bmp", ".webp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
}
"""Endings of the files that are read."""
HIDDEN = {
    *("__MACOSX", "__pycache__", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found"),
    *("System Volume Information", "Thumbs.db", "desktop.ini", "Icon\r"),
}
"""Names that systems leave behind, besides those that begin with a dot."""
PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}
"""Names of parts of a data set, which are no classes where a folder holds nothing else."""
SHOWN = 5
"""Names that a message shows."""
CLOSED = ("JPEG", "MPO")
"""Formats of which the end of a file tells whether it is whole; of others the pixels do."""
ORIENTATION = 0x0112
"""The EXIF tag in which a camera notes how it was held; 1 is upright."""
TURNED = {
    "lying": "were taken with the camera turned (EXIF) and are read as stored, not turned upright,"
    " as in the usual evaluation of ImageNet; turn the files where the model expects that",
    "upright": "are TIFF whose orientation says that they lie; they are turned upright",
}
"""What is said of turned photographs."""


@frozen
class Classes:
    """Files of a folder of classes: paths, for each the number of its class, and the classes' names.

    notes: sentences that say what was left out.
    """

    paths: list[Path]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    notes: tuple[str, ...]


@frozen
class Frame:
    """How an image is brought to size: shorter side to `resize`, then `crop` cut from the middle."""

    resize: int | None = None
    crop: int | None = None

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height after resizing, before the cut."""
        if self.resize is None:
            return width, height
        short = min(width, height)
        return self.resize * width // short, self.resize * height // short


def hidden(name: str) -> bool:
    """Return whether a name is one that users do not see, such as `.ipynb_checkpoints` or `._0.png`."""
    return name.startswith(".") or name in HIDDEN


def subfolders(place: Path) -> list[Path]:
    """Return the folders in a folder that are not hidden, by name; KdstError when it is none."""
    if not place.is_dir():
        raise KdstError(f"{place} is not a directory")
    return sorted(p for p in place.iterdir() if p.is_dir() and not hidden(p.name))


def scan(place: Path) -> Classes:
    """Return the images of a folder with one folder a class, by name, nested files too.

    KdstError for a class without images, and where there is none at all.
    """
    paths: list[Path] = []
    labels: list[int] = []
    classes, empty = subfolders(place), []
    _check_parts(place, classes)
    left = [p for p in sorted(place.iterdir()) if not p.is_dir()]
    skipped = [p for p in place.iterdir() if p.is_dir() and hidden(p.name)]
    for number, folder in enumerate(classes):
        files = _files(folder, skipped)
        mine = [f for f in files if f.suffix.lower() in SUFFIXES and not hidden(f.name)]
        left += [f for f in files if f.suffix.lower() not in SUFFIXES or hidden(f.name)]
        paths += mine
        labels += [number] * len(mine)
        if not mine:
            empty.append(folder.name)
    if not paths:
        formats = _formats(left)
        raise KdstError(
            f"{place} holds no images; expected one folder a class with PNG or JPEG files"
            + (f", found {formats}" if formats else "")
        )
    if empty:
        raise KdstError(
            f"{place}: no images in the folder of class {_some(empty)}.\n"
            "Add images or remove the folder; an empty class would move the labels of the others"
        )
    return Classes(
        paths, np.array(labels), tuple(c.name for c in classes), _notes(place, left, skipped)
    )


def _check_parts(place: Path, classes: Sequence[Path]) -> None:
    """Raise KdstError for a folder of parts of a data set, whose classes lie one folder further down."""
    parts = [p for p in classes if p.name.lower() in PARTS and subfolders(p)]
    if parts and len(parts) == len(classes):
        raise KdstError(
            f"{place} holds {_some([p.name for p in parts])}, parts of a data set and no classes.\n"
            f"Give one of them, such as folder:{parts[-1]}"
        )


def _files(folder: Path, skipped: list[Path]) -> list[Path]:
    """Return all files below a folder, by path; hidden folders are added to `skipped`.

    Links are followed, but not back to a folder that was seen or lies above.
    """
    found, seen = [], set(folder.resolve().parents)
    for root, folders, files in os.walk(folder, followlinks=True):
        here = Path(root).resolve()
        if here in seen:
            folders.clear()
            continue
        seen.add(here)
        skipped += [Path(root, f) for f in folders if hidden(f)]
        folders[:] = sorted(f for f in folders if not hidden(f))
        found += [path for f in files if _holds_bytes(path := Path(root, f))]
    return sorted(found)


def _holds_bytes(path: Path) -> bool:
    """Return whether a path is a file, or a link to none, which is named later; a pipe would wait."""
    return path.is_file() or not path.exists()


def _notes(place: Path, left: Sequence[Path], skipped: Sequence[Path]) -> tuple[str, ...]:
    """Return what a reader must know of files that are not read."""
    unseen = [*skipped, *(p for p in left if hidden(p.name))]
    other = [p for p in left if not hidden(p.name)]
    notes = []
    if unseen:
        names = _some(sorted({p.name for p in unseen}))
        notes.append(f"{place}: {len(unseen)} hidden files or folders were skipped ({names}).")
    if other:
        notes.append(f"{place}: {len(other)} files were not read ({_formats(other)}).")
    return tuple(notes)


def _formats(paths: Sequence[Path]) -> str:
    """Return how many files have which ending."""
    counts = Counter(p.suffix.lower() or p.name for p in paths)
    return _some([f"{count} {suffix}" for suffix, count in counts.most_common()])


def _some(names: Sequence[str]) -> str:
    """Return the first names and how many there are more."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def read(paths: Sequence[Path], frame: Frame) -> NDArray[Any]:
    """Return the images (n, H, W, 3), uint8, of files; KdstError when they differ in size."""
    images = [_read_one(path, frame) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise KdstError(_differ(path, image.shape[1::-1], paths[0], images[0].shape[1::-1]))
    return np.stack(images)


def _differ(path: Path, size: Sequence[int], first: Path, wanted: Sequence[int]) -> str:
    """Return the message for two images that differ in size."""
    a, b = ("×".join(map(str, s)) for s in (size, wanted))
    return (
        f"{path} has {a} pixels, {first.name} has {b}; all images must have one size.\n"
        "Give --resize N --crop N: the shorter side to N pixels, and N×N cut from the middle"
    )


def _read_one(path: Path, frame: Frame) -> NDArray[Any]:
    """Return one image (H, W, 3) brought to size."""
    from PIL import Image as Pillow

    try:
        with Pillow.open(path) as file:
            image = rgb(file)
    except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as e:
        raise KdstError(f"{path} cannot be read as an image ({e})") from e
    size = frame.size(*image.size)
    if size != image.size:
        image = image.resize(size, Pillow.Resampling.BILINEAR)
    if frame.crop is not None:
        _check_crop(path, size, frame.crop)
        left, top = (round((s - frame.crop) / 2) for s in size)
        image = image.crop((left, top, left + frame.crop, top + frame.crop))
    return np.asarray(image)


def _check_crop(path: Path, size: tuple[int, int], crop: int) -> None:
    """Raise KdstError for an image that is smaller than what is cut from it."""
    if min(size) < crop:
        raise KdstError(
            f"{path} has {size[0]}×{size[1]} pixels, too few for --crop {crop}; give --resize {crop}"
        )


def rgb(image: "Image") -> "Image":
    """Return an image of any mode as RGB of 8 bits; grey of 16 bits keeps its range.

    ValueError for pixels of 32 bits, whose range is not known.
    """
    from PIL import Image as Pillow

    _check_mode(image)
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.float64)
        return Pillow.fromarray((wide * (255 / 65535)).round().astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _check_mode(image: "Image") -> None:
    """Raise ValueError for pixels of 32 bits, as which Pillow also reads 16 bits of PNG and PGM."""
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise ValueError("pixels of 32 bits, whose range is not known; store 8 or 16 bits")


def check_files(paths: Sequence[Path], frame: Frame) -> tuple[str, ...]:
    """Return what a reader must know of turned photographs.

    KdstError, before any work, for a file that is no whole image or has another size.
    """
    from PIL import Image as Pillow

    first: tuple[int, int] | None = None
    turned: Counter[str] = Counter()
    for path in paths:
        try:
            with Pillow.open(path) as file:
                size = frame.size(*file.size)
                _check_mode(file)
                turned[_turn(file)] += 1
                if file.format == "PNG":
                    file.verify()  # by the sums that it holds
                elif file.format not in CLOSED or not _ends(path):
                    file.load()
        except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as e:
            raise KdstError(f"{path} cannot be read as an image ({e})") from e
        if frame.crop is not None:
            _check_crop(path, size, frame.crop)
        elif size != (first := first or size):
            raise KdstError(_differ(path, size, paths[0], first))
    return tuple(
        f"{_common(paths)}: {turned[kind]} of {len(paths)} images {told}."
        for kind, told in TURNED.items()
        if turned[kind]
    )


def _turn(file: "Image") -> str:
    """Return a key of `TURNED` for an image that a camera noted as turned, else ''.

    Pillow turns TIFF by itself. EXIF of PNG counts where it stands before the pixels.
    """
    if file.format == "PNG" and "exif" not in file.info:
        return ""
    if file.getexif().get(ORIENTATION, 1) not in range(2, 9):
        return ""
    return "upright" if file.format == "TIFF" else "lying"


def _common(paths: Sequence[Path]) -> str:
    """Return the folder that holds all files."""
    return os.path.commonpath([p.parent for p in paths])


def _ends(path: Path) -> bool:
    """Return whether a file closes as JPEG does, which one that is cut short does not."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16))
        tail = file.read()
    return tail.endswith(b"\xff\xd9")
