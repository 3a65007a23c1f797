"""Where shifted images come from: streams of labelled batches, one stream a shift."""

import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import evolve, field, frozen
from numpy.typing import NDArray
from torch import Tensor

from kdst_adapt import corrupted, corruptions, folders, objects, pixels
from kdst_adapt.corruption_effects import Severities
from kdst_adapt.files import Files
from kdst_adapt.inputs import AdaptInputs
from kdst_core.bench.sealed import SealedArray, seal_array
from kdst_core.errors import KdstError, did_you_mean

Array = NDArray[Any]
LEVELS = {"1", "2", "3", "4", "5"}
FOLDERS = ("folder", "imagenet-c")
"""Kinds of data that lie class by class: shuffled by default, and N images are taken across classes."""
FEW_CLASSES, SEVERAL = 0.5, 1.9
"""A batch with less than this share of the further classes that a shuffled one would hold counts as
sorted, where a shuffled one would hold several: of two classes, both nearly always."""


def put_away(labels: Any) -> SealedArray:
    """Return labels (N,) sealed; those that are sealed already as they are."""
    return labels if isinstance(labels, SealedArray) else seal_array(labels)


@frozen
class Shift:
    """One stream: images (N, H, W, C), whole numbers to 255 or floats in [0, 1], and labels (N,).

    corruption: type and severity applied on the fly, or None when the images are already shifted.
    table: parameters of the corruption where they are not the published ones. rows: numbers of the
    images that are taken, in their order, None for all. names: of classes that labels count, where
    they are not logits yet. notes: what a reader must know of the source.
    """

    name: str
    severity: int
    images: Array
    _labels: SealedArray = field(converter=put_away)
    corruption: tuple[str, int] | None = None
    table: Severities | None = None
    seed: int = 0
    rows: Array | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> Array:
        """The labels (N,), read anew; RuntimeError while a method works."""
        labels: Array = self._labels.read()
        return labels

    @property
    def key(self) -> str:
        """The name in metrics, `fog.5`; `clean` where nothing is corrupted."""
        return f"{self.name}.{self.severity}"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    def pictures(self, rows: Array) -> Tensor:
        """Return images (B, C, H, W) float32 in [0, 1] of the given rows, without their labels."""
        places = np.asarray(rows) if self.rows is None else self.rows[rows]
        raw = np.asarray(self.images[places])
        x = (raw / np.float32(255) if raw.dtype.kind in "iu" else raw).astype(np.float32)
        if self.corruption:
            name, severity = self.corruption
            x = corrupted.batch(x, name, severity, seed=self.seed, places=places, table=self.table)
        return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))

    def batch(self, rows: Array) -> tuple[Tensor, Tensor]:
        """Return images, as `pictures` does, and labels (B,) of the given rows."""
        return self.pictures(rows), torch.from_numpy(self.labels[rows].astype(np.int64))


def load(inputs: AdaptInputs, seed: int, live: Any = None) -> list[Shift]:
    """Return the streams that the options name, in order; KdstError for anything wrong with them.

    live: a pair of arrays (images, labels) given from Python in place of a name.
    """
    severities = parse_severities(inputs.severity)
    kind, _, place = inputs.data.partition(":")
    if live is not None:
        _check_frame(inputs, "")
        shifts = [_clean(*objects.read(live))]
    else:
        if kind not in LOADERS or bool(place) == (kind == "digits"):
            raise KdstError(
                f"--data {inputs.data!r} is not understood.{did_you_mean(kind, LOADERS)}\n"
                "Give digits, cifar10-c:DIR, cifar100-c:DIR, imagenet-c:DIR, folder:DIR or npz:FILE"
            )
        _check_frame(inputs, kind)
        shifts = LOADERS[kind](Path(place), inputs, severities)
    if inputs.corrupt:
        wanted = list(corruptions.CORRUPTIONS) if inputs.corrupt == ["all"] else inputs.corrupt
        found = [n for s in shifts for c in wanted for n in _on_the_fly(s, c, severities)]
        shifts = [
            *{s.key: s for s in found}.values()
        ]  # each stream once, however often it is named
    shifts = _chosen_types(shifts, inputs.types)
    shifts = [evolve(s, seed=seed) for s in shifts]
    if inputs.images is not None:
        across = live is None and kind in FOLDERS
        shifts = [_taken(s, inputs.images, across=across) for s in shifts]
    if live is None and kind == "imagenet-c":
        shifts = [_checked(s, inputs) for s in shifts]
    return shifts


def _checked(shift: Shift, inputs: AdaptInputs) -> Shift:
    """Return a stream of files with what is to be said of them.

    KdstError, before any work, for a file that is no whole image.
    """
    files: Any = shift.images
    paths = files.paths
    taken = paths if shift.rows is None else [paths[k] for k in shift.rows]
    notes = folders.check_files(taken, folders.Frame(inputs.resize, inputs.crop))
    return evolve(shift, notes=(*shift.notes, *notes))


def judging_files(inputs: AdaptInputs, *, live: bool = False) -> list[Path]:
    """Return the files and folders that say the labels of the streams, for no method to open.

    Where the training data come from the same place, a method is given that, so it is not among them.
    """
    kind, _, place = inputs.data.partition(":")
    if live or inputs.data == inputs.source:
        return []
    if kind == "digits":
        from kdst_adapt.digits.data import table

        found = table()
        return [] if found is None else [found]
    if kind == "folder":
        return folders.subfolders(Path(place))
    if kind == "imagenet-c":
        return _types(Path(place))
    return [Path(place) if kind == "npz" else Path(place, "labels.npy")]


def order(inputs: AdaptInputs, *, live: bool = False) -> str:
    """Return the order of the images: as the options say, else shuffled for folders of classes."""
    if inputs.order is not None:
        return inputs.order
    in_folders = not live and inputs.data.partition(":")[0] in FOLDERS
    return "shuffled" if in_folders else "stored"


def _check_frame(inputs: AdaptInputs, kind: str) -> None:
    """Raise KdstError for --resize and --crop that do not fit the data or each other."""
    given = [f for f, v in (("--resize", inputs.resize), ("--crop", inputs.crop)) if v is not None]
    if given and kind not in FOLDERS:
        raise KdstError(f"{given[0]} is for folder:DIR and imagenet-c:DIR, whose images are files")
    if inputs.resize and inputs.crop and inputs.crop > inputs.resize:
        raise KdstError(
            f"--crop {inputs.crop} is larger than --resize {inputs.resize}; at most the same is allowed"
        )


def parse_severities(text: str) -> list[int]:
    """Return the severities of '5', '1-5' or '1,3,5'."""
    found: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        if not (low.strip().isdecimal() and (high.strip() or low).strip().isdecimal()):
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


def _taken(shift: Shift, count: int, *, across: bool) -> Shift:
    """Return so many images of a shift, the first, or the first of each class in turn.

    KdstError when it has fewer.
    """
    if count > len(shift.labels):
        raise KdstError(f"--images {count}: {shift.key} has only {len(shift.labels)} images")
    labels, notes = shift.labels, shift.notes
    if not across and lacks_classes(labels, labels[:count]):
        across = True
        note = (
            f"The first {count} images of {shift.key} hold {len(np.unique(labels[:count]))} of"
            f" {len(np.unique(labels))} classes; --images took them from all classes alike."
        )
        notes = (*notes, note)
    rows = across_classes(labels, count) if across else np.arange(count)
    return evolve(shift, rows=rows, labels=labels[rows], notes=notes)


def lacks_classes(labels: Array, part: Array, *parts: Array) -> bool:
    """Return whether parts of a stream hold far fewer classes, on average, than if it were shuffled."""
    held = np.mean([len(np.unique(p)) for p in (part, *parts)])
    expected = expected_classes(labels, [len(p) for p in (part, *parts)])
    return expected >= SEVERAL and bool(held - 1 < FEW_CLASSES * (expected - 1))


def expected_classes(labels: Array, sizes: Sequence[int]) -> float:
    """Return how many classes parts of these sizes of a shuffled stream hold, on average."""
    _, counts = np.unique(labels, return_counts=True)
    share = counts / counts.sum()
    return float(np.mean([(1 - (1 - share) ** size).sum() for size in sizes]))


def across_classes(labels: Array, count: int) -> Array:
    """Return `count` rows in their order, taken from all classes alike.

    With fewer rows than classes, the classes lie evenly between the first and the last.
    """
    classes, inverse = np.unique(labels, return_inverse=True)
    rank = np.empty(len(labels), np.int64)
    for label in range(len(classes)):
        mine = np.flatnonzero(inverse == label)
        rank[mine] = np.arange(len(mine))
    turn = np.argsort(np.argsort(np.arange(len(classes)) * 0.6180339887498949 % 1))
    return np.sort(np.lexsort((turn[inverse], rank))[:count])


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
    files = sorted(
        p
        for p in _directory(place).glob("*.npy")
        if p.name != "labels.npy" and not folders.hidden(p.name)
    )
    if not files:
        raise KdstError(f"{place} holds no TYPE.npy; is this the unpacked data set?")
    if not inputs.corrupt and {f.stem for f in files}.issuperset(inputs.types):
        files = [f for f in files if not inputs.types or f.stem in inputs.types]
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
    types = [t for t in _types(place) if not inputs.types or t.name in inputs.types]
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


def _types(place: Path, depth: int = 3) -> list[Path]:
    """Return the folders of types, so many folders down: those with folders 1 to 5 that hold classes."""
    inside = folders.subfolders(place)
    if any(p.name in LEVELS and folders.subfolders(p) for p in inside):
        return [place]
    return sorted(t for p in inside if depth for t in _types(p, depth - 1))


def _npz(place: Path, inputs: AdaptInputs, severities: list[int]) -> list[Shift]:
    """A file of `images` (N, H, W[, C]) and `labels` (N,)."""
    return [_clean(*read_npz(place))]


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
