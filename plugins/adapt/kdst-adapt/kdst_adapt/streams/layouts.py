"""The layouts in which labelled images lie on disk, each read as streams."""

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve

from kdst_adapt.corruptions.table import DIGITS
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.streams import folders, pixels
from kdst_adapt.streams.files import Files
from kdst_adapt.streams.pixels import Array
from kdst_adapt.streams.shift import Shift
from kdst_core.errors import KdstError

LEVELS = {"1", "2", "3", "4", "5"}


def as_stored(images: Array, labels: Array) -> Shift:
    """Return a stream of images as they are."""
    return Shift("clean", 0, images, labels)


def _digits(_place: Path, inputs: AdaptInputs, severities: list[int]) -> list[Shift]:
    """The embedded digits: the test part, clean where --corrupt follows, else under six types."""
    from kdst_adapt.default import data

    images, labels = data.load(train=False)
    clean = as_stored(images, labels)
    if inputs.corrupt:
        return [clean]
    return [
        evolve(clean, name=name, severity=severity, corruption=(name, severity), table=table)
        for severity in severities
        for name, table in DIGITS.items()
    ]


def _cifar_c(place: Path, inputs: AdaptInputs, severities: list[int]) -> list[Shift]:
    """The published layout: TYPE.npy of shape (5·N, 32, 32, 3), severity blocks in order, labels.npy."""
    files = sorted(
        p
        for p in _directory(place).glob("*.npy")
        if p.name != "labels.npy" and not folders.hidden(p.name)
    )
    if not files:
        raise KdstError(f"{place} holds no TYPE.npy; is this the unpacked data set?")
    wanted = {f.stem for f in files} & {*inputs.types}
    if not inputs.corrupt and wanted and (len(wanted) == len({*inputs.types}) or _named(inputs)):
        files = [f for f in files if f.stem in wanted]
    labels = pixels.check_labels(_npy(place / "labels.npy"), str(place / "labels.npy"))
    notes = _of_blocks(labels, place)
    shifts = []
    for severity in severities:
        for file in files:
            images = pixels.channels_last(_npy(file), str(file))
            if len(images) % 5:
                raise KdstError(
                    f"{file}: shape {images.shape} is not (5·N, height, width, 3), the five severities"
                    " in blocks.\nRemove it, or give --types with those that are so"
                )
            count = len(images) // 5
            block = slice((severity - 1) * count, severity * count)
            if len(labels) not in (count, 5 * count):
                raise KdstError(
                    f"{place / 'labels.npy'} holds {len(labels)} labels for {count} images a"
                    f" severity in {file.name}; {count} or {5 * count} are allowed"
                )
            whole = len(labels) == 5 * count
            part = labels[block] if whole else labels
            pixels.check_range(images[block], str(file), block.start)
            told = notes if whole else ()
            shifts.append(Shift(file.stem, severity, images[block], part, notes=told))
    return shifts


def _named(inputs: AdaptInputs) -> bool:
    """Return whether a protocol named the types, of which data may have a part only."""
    return inputs.protocol != "none"


def _of_blocks(labels: Array, place: Path) -> tuple[str, ...]:
    """Return a note where the labels of five severities differ, which in the published data are equal."""
    count = len(labels) // 5
    if (labels[: 5 * count].reshape(5, -1) == labels[:count]).all():
        return ()
    return (
        f"{place}: the labels are not the same for all five severities, as in the published data; if the"
        " files hold one severity only, they were cut into five wrong blocks. Give npz:FILE then.",
    )


def _npy(path: Path) -> Array:
    """Map a .npy file into memory; KdstError when it is missing, cut short or not an array."""
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise KdstError(f"{path} is missing") from None
    except (ValueError, OSError, EOFError) as e:
        raise KdstError(f"{path} cannot be read; it may be cut short ({e})") from e
    return array


def _directory(place: Path) -> Path:
    """Return a directory that exists."""
    if not place.is_dir():
        raise KdstError(f"{place} is not a directory")
    return place


def _folder(place: Path, inputs: AdaptInputs, severities: list[int]) -> list[Shift]:
    """One folder a class, numbered by name until the classes are known; images stay in their files."""
    found = folders.scan(place)
    frame = folders.Frame(inputs.resize, inputs.crop)
    notes = (*found.notes, *folders.check_files(found.paths, frame))
    images: Any = Files(found.paths, partial(folders.read, frame=frame))
    return [Shift("clean", 0, images, found.labels, names=found.names, notes=notes)]


def _imagenet_c(place: Path, inputs: AdaptInputs, severities: list[int]) -> list[Shift]:
    """The published layout of ImageNet-C: TYPE/SEVERITY/CLASS/IMAGE.

    Types may stand below the folders that the archives unpack to, such as noise/gaussian_noise, and
    `place` may be a type itself. Only the severities that are asked for need be there.
    """
    frame = folders.Frame(inputs.resize, inputs.crop)
    types = [t for t in type_folders(place) if not inputs.types or t.name in inputs.types]
    if not types:
        raise KdstError(f"{place} holds no TYPE/SEVERITY/CLASS folders of ImageNet-C")
    twice = [t for t in types if [o.name for o in types].count(t.name) > 1]
    if twice:
        raise KdstError(
            f"{place} holds {twice[0].name} more than once: {twice[0]}, {twice[1]}.\n"
            "Give imagenet-c: one of the folders that hold them"
        )
    shifts = []
    for severity in severities:
        for folder in types:
            if not (folder / str(severity)).is_dir():
                there = ",".join(p.name for p in folders.subfolders(folder) if p.name in LEVELS)
                raise KdstError(
                    f"{folder} has no severity {severity}; it has {there}.\nGive --severity {there},"
                    " or --types with those that have it"
                )
            found = folders.scan(folder / str(severity))
            images: Any = Files(found.paths, partial(folders.read, frame=frame))
            shift = Shift(folder.name, severity, images, found.labels)
            shifts.append(evolve(shift, names=found.names, notes=found.notes))
    return shifts


def type_folders(place: Path, depth: int = 3) -> list[Path]:
    """Return the folders of types, so many folders down: those with folders 1 to 5 that hold classes."""
    inside = folders.subfolders(place)
    if any(p.name in LEVELS and folders.subfolders(p) for p in inside):
        return [place]
    return sorted(t for p in inside if depth for t in type_folders(p, depth - 1))


def _npz(place: Path, inputs: AdaptInputs, severities: list[int]) -> list[Shift]:
    """A file of `images` (N, H, W[, C]) and `labels` (N,)."""
    return [as_stored(*read_npz(place))]


def read_npz(place: Path) -> tuple[Array, Array]:
    """Return images (N, H, W, C) and labels (N,) of a .npz file."""
    if place.is_file() and not zipfile.is_zipfile(place):
        raise KdstError(
            f"{place} is no whole .npz file of `images` and `labels`; it may be cut short"
        )
    try:
        with np.load(place, allow_pickle=False) as file:
            missing = {"images", "labels"} - set(file.files)
            if missing:
                raise KdstError(
                    f"{place} has no array {' and '.join(sorted(missing))};"
                    f" it has {', '.join(file.files) or 'none'}"
                )
            arrays = file["images"], file["labels"]
    except FileNotFoundError:
        raise KdstError(f"{place} does not exist") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as e:
        raise KdstError(f"{place} cannot be read; it may be cut short ({e})") from e
    return pixels.check(*arrays, str(place))


LOADERS: dict[str, Callable[[Path, AdaptInputs, list[int]], list[Shift]]] = {
    "digits": _digits,
    "cifar10-c": _cifar_c,
    "cifar100-c": _cifar_c,
    "imagenet-c": _imagenet_c,
    "folder": _folder,
    "npz": _npz,
}
"""Kind of data to the function that loads it."""
