"""Where shifted images come from: streams of labelled batches, one stream a shift."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from numpy.typing import NDArray
from torch import Tensor

from kdst_adapt import corruptions
from kdst_adapt.corruption_effects import Severities
from kdst_adapt.inputs import AdaptInputs
from kdst_core.errors import KdstError, did_you_mean

Array = NDArray[Any]
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


@frozen
class Shift:
    """One stream: images (N, H, W, C), uint8 or float in [0, 1], and labels (N,).

    corruption: type and severity applied on the fly, or None when the images are already shifted.
    table: parameters of the corruption where they are not the published ones.
    """

    name: str
    severity: int
    images: Array
    labels: Array
    corruption: tuple[str, int] | None = None
    table: Severities | None = None
    seed: int = 0

    @property
    def key(self) -> str:
        """The name in metrics, `fog.5`; `clean` where nothing is corrupted."""
        return f"{self.name}.{self.severity}"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    def batch(self, rows: Array) -> tuple[Tensor, Tensor]:
        """Return images (B, C, H, W) float32 in [0, 1] and labels (B,) of the given rows."""
        raw = np.asarray(self.images[rows])
        x = (raw / np.float32(255) if raw.dtype == np.uint8 else raw).astype(np.float32)
        if self.corruption:
            name, severity = self.corruption
            x = np.stack(
                [
                    corruptions.corrupt(
                        image, name, severity, seed=self.seed, index=int(row), table=self.table
                    )
                    for image, row in zip(x, rows, strict=True)
                ]
            )
        images = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        return images, torch.from_numpy(np.asarray(self.labels[rows]).astype(np.int64))


def load(inputs: AdaptInputs, seed: int, live: Any = None) -> list[Shift]:
    """Return the streams that the options name, in order; KdstError for anything wrong with them.

    live: a pair of arrays (images, labels) given from Python in place of a name.
    """
    severities = parse_severities(inputs.severity)
    if live is not None:
        shifts = [_clean(*_check_arrays(_to_arrays(live), "the data given"))]
    else:
        kind, _, place = inputs.data.partition(":")
        if kind not in LOADERS or bool(place) == (kind == "digits"):
            raise KdstError(
                f"--data {inputs.data!r} is not understood.{did_you_mean(kind, LOADERS)}\n"
                "Give digits, cifar10-c:DIR, cifar100-c:DIR, imagenet-c:DIR, folder:DIR or npz:FILE"
            )
        shifts = LOADERS[kind](Path(place), inputs, severities)
    if inputs.corrupt:
        wanted = list(corruptions.CORRUPTIONS) if inputs.corrupt == ["all"] else inputs.corrupt
        shifts = [n for s in shifts for c in wanted for n in _on_the_fly(s, c, severities)]
    shifts = _chosen_types(shifts, inputs.types)
    shifts = [evolve(s, seed=seed) for s in shifts]
    if inputs.images is not None:
        shifts = [_first(s, inputs.images) for s in shifts]
    return shifts


def parse_severities(text: str) -> list[int]:
    """Return the severities of '5', '1-5' or '1,3,5'."""
    found: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        if not (low.strip().isdigit() and (high.strip() or low).strip().isdigit()):
            raise KdstError(f"--severity {text!r} is not understood; give 5, 1-5 or 1,3,5")
        if high and int(high) < int(low):
            raise KdstError(f"--severity {text!r} runs backwards; give the lower one first")
        found += range(int(low), int(high or low) + 1)
    if not found or min(found) < 1 or max(found) > 5:
        raise KdstError(f"--severity {text!r} is out of range; severities go from 1 to 5")
    return list(dict.fromkeys(found))


def _on_the_fly(shift: Shift, wanted: str, severities: list[int]) -> list[Shift]:
    """Return a shift under a corruption, once for each severity that is wanted."""
    name, _, level = wanted.partition(":")
    corruptions.check(name)
    full = name if shift.name == "clean" else f"{shift.name}{shift.severity}+{name}"
    return [
        evolve(shift, name=full, severity=severity, corruption=(name, severity), table=None)
        for severity in (parse_severities(level) if level else severities)
    ]


def _chosen_types(shifts: list[Shift], types: list[str]) -> list[Shift]:
    """Return the shifts of the wanted types, in the wanted order."""
    if not types:
        return shifts
    known = dict.fromkeys(s.name for s in shifts)
    for name in types:
        if name not in known:
            raise KdstError(
                f"--types: the data has no type {name!r}.{did_you_mean(name, known)}"
                f" It has: {', '.join(known)}"
            )
    return [s for name in dict.fromkeys(types) for s in shifts if s.name == name]


def _first(shift: Shift, count: int) -> Shift:
    """Return the first images of a shift; KdstError when it has fewer."""
    if count > len(shift.labels):
        raise KdstError(f"--images {count}: {shift.key} has only {len(shift.labels)} images")
    return evolve(shift, images=shift.images[:count], labels=shift.labels[:count])


def _clean(images: Array, labels: Array) -> Shift:
    """Return a stream of images as they are."""
    return Shift("clean", 0, images, labels)


def _digits(_place: Path, inputs: AdaptInputs, severities: list[int]) -> list[Shift]:
    """The embedded digits: the test part, clean where --corrupt follows, else under six types."""
    from kdst_adapt.digits import data

    images, labels = data.load(train=False)
    clean = _clean(images, labels)
    if inputs.corrupt:
        return [clean]
    return [
        evolve(clean, name=name, severity=severity, corruption=(name, severity), table=table)
        for severity in severities
        for name, table in corruptions.DIGITS.items()
    ]


def _cifar_c(place: Path, inputs: AdaptInputs, severities: list[int]) -> list[Shift]:
    """The published layout: TYPE.npy of shape (5·N, 32, 32, 3), severity blocks in order, labels.npy."""
    files = sorted(p for p in _directory(place).glob("*.npy") if p.name != "labels.npy")
    if not files:
        raise KdstError(f"{place} holds no TYPE.npy; is this the unpacked data set?")
    labels = _npy(place / "labels.npy")
    shifts = []
    for severity in severities:
        for file in files:
            images = _npy(file)
            if images.ndim != 4 or images.shape[-1] != 3 or len(images) % 5:
                raise KdstError(f"{file}: shape {images.shape} is not (5·N, height, width, 3)")
            count = len(images) // 5
            block = slice((severity - 1) * count, severity * count)
            if len(labels) not in (count, 5 * count):
                raise KdstError(
                    f"{place / 'labels.npy'} holds {len(labels)} labels for {count} images a"
                    f" severity in {file.name}; {count} or {5 * count} are allowed"
                )
            part = labels[block] if len(labels) == 5 * count else labels
            shifts.append(
                Shift(file.stem, severity, images[block], _check_labels(part, str(place)))
            )
    return shifts


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
    """One folder a class, in alphabetical order of the class names."""
    classes = sorted(p for p in _directory(place).iterdir() if p.is_dir())
    found = [
        (path, label)
        for label, folder in enumerate(classes)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not found:
        raise KdstError(
            f"{place} holds no images; expected one folder a class with PNG or JPEG files"
        )
    return [_clean(_read_images([p for p, _ in found]), np.array([n for _, n in found]))]


def _read_images(paths: list[Path]) -> Array:
    """Return the images (N, H, W, 3) of files; KdstError when they differ in size."""
    from PIL import Image

    images: list[Array] = []
    for path in paths:
        try:
            with Image.open(path) as file:
                images.append(np.asarray(file.convert("RGB")))
        except (OSError, SyntaxError) as e:
            raise KdstError(f"{path} cannot be read as an image ({e})") from e
        if images[-1].shape != images[0].shape:
            size = "×".join(map(str, images[-1].shape[1::-1]))
            first = "×".join(map(str, images[0].shape[1::-1]))
            raise KdstError(
                f"{path} has {size} pixels, {paths[0].name} has {first};"
                " all images must have one size"
            )
    return np.stack(images)


def _imagenet_c(place: Path, inputs: AdaptInputs, severities: list[int]) -> list[Shift]:
    """The published layout of ImageNet-C: TYPE/SEVERITY/CLASS/IMAGE.JPEG, classes in alphabetical order.

    Types may stand in the groups that the archives unpack to, such as noise/gaussian_noise.
    """
    from kdst_adapt.files import Files

    places = sorted({p.parent for p in (*_directory(place).glob("*/1"), *place.glob("*/*/1"))})
    if inputs.types:
        places = [p for p in places if p.name in inputs.types]
    if not places:
        raise KdstError(f"{place} holds no TYPE/SEVERITY/CLASS folders of ImageNet-C")
    shifts = []
    for severity in severities:
        for folder in places:
            classes = sorted(p for p in _directory(folder / str(severity)).iterdir() if p.is_dir())
            found = [(f, n) for n, c in enumerate(classes) for f in sorted(c.iterdir())]
            kept = [(f, n) for f, n in found if f.suffix.lower() in IMAGE_SUFFIXES]
            if not kept:
                raise KdstError(f"{folder / str(severity)} holds no images")
            images: Any = Files([f for f, _ in kept], _read_images)
            shifts.append(Shift(folder.name, severity, images, np.array([n for _, n in kept])))
    return shifts


def _npz(place: Path, inputs: AdaptInputs, severities: list[int]) -> list[Shift]:
    """A file of `images` (N, H, W[, C]) and `labels` (N,)."""
    return [_clean(*read_npz(place))]


def read_npz(place: Path) -> tuple[Array, Array]:
    """Return images (N, H, W, C) and labels (N,) of a .npz file."""
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
    return _check_arrays(arrays, str(place))


def _to_arrays(live: Any) -> tuple[Array, Array]:
    """Return arrays (N, H, W, C) and (N,) of a pair of tensors or arrays given from Python."""
    try:
        images, labels = live
    except (TypeError, ValueError):
        raise KdstError("data must be a name or a pair (images, labels)") from None
    if isinstance(images, Tensor):
        images = images.detach().cpu().movedim(1, -1).numpy()
    return np.asarray(images), np.asarray(labels)


def _check_arrays(arrays: tuple[Array, Array], place: str) -> tuple[Array, Array]:
    """Return images as (N, H, W, C) and their labels; KdstError for a wrong shape, range or NaN."""
    images, labels = arrays
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or not len(images):
        raise KdstError(f"{place}: images have shape {images.shape}, not (N, height, width[, C])")
    if len(images) != len(labels):
        raise KdstError(f"{place}: {len(images)} images but {len(labels)} labels")
    if images.dtype != np.uint8:
        _check_range(images, place)
    return images, _check_labels(labels, place)


def _check_range(images: Array, place: str) -> None:
    """Raise KdstError for pixels that are no numbers in [0, 1]."""
    if images.dtype.kind != "f":
        raise KdstError(f"{place}: images are {images.dtype}; uint8 or float in [0, 1] is allowed")
    bad = np.flatnonzero(~np.isfinite(images).reshape(len(images), -1).all(1))
    if len(bad):
        raise KdstError(
            f"{place}: image {bad[0]} has NaN or infinite pixels ({len(bad)} such images)"
        )
    low, high = images.min(), images.max()
    if low < 0 or high > 1:
        raise KdstError(f"{place}: pixels reach from {low:g} to {high:g}; floats must be in [0, 1]")


def _check_labels(labels: Array, place: str) -> Array:
    """Return labels; KdstError unless they are whole numbers from 0."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise KdstError(f"{place}: labels must be whole numbers of shape (N,), not {labels.dtype}")
    if len(labels) and labels.min() < 0:
        raise KdstError(f"{place}: label {labels.min()} is below 0")
    return labels


LOADERS: dict[str, Callable[[Path, AdaptInputs, list[int]], list[Shift]]] = {
    "digits": _digits,
    "cifar10-c": _cifar_c,
    "cifar100-c": _cifar_c,
    "imagenet-c": _imagenet_c,
    "folder": _folder,
    "npz": _npz,
}
"""Kind of data to the function that loads it."""


def ordered(count: int, order: str, seed: int) -> Array:
    """Return the rows of a stream in order: as stored, or shuffled by the seed."""
    rows = np.arange(count)
    return np.random.default_rng(seed).permutation(count) if order == "shuffled" else rows


def cut(rows: Array, size: int) -> list[Array]:
    """Return the rows of each batch; a last batch of a single image joins the one before it.

    BatchNorm has no statistics for a single image, and every method sees the same batches.
    """
    cuts = list(range(size, len(rows), size))
    if cuts and size > 1 and len(rows) - cuts[-1] == 1:
        cuts.pop()
    return np.split(rows, cuts)
