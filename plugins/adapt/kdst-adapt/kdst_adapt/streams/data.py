"""Where shifted images come from: streams of labelled batches, one stream a shift."""

from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve

from kdst_adapt.asked import FOLDERS
from kdst_adapt.asked import order as order
from kdst_adapt.corruptions import corrupt
from kdst_adapt.corruptions.table import CORRUPTIONS
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.streams import folders, objects
from kdst_adapt.streams.layouts import LOADERS, as_stored, type_folders
from kdst_adapt.streams.sampling import across_classes, lacks_classes
from kdst_adapt.streams.severities import parse_severities
from kdst_adapt.streams.shift import Shift
from kdst_core.errors import KdstError, did_you_mean


def load(inputs: AdaptInputs, seed: int, live: Any = None) -> list[Shift]:
    """Return the streams that the options name, in order; KdstError for anything wrong with them.

    live: a pair of arrays (images, labels) given from Python in place of a name.
    """
    severities = parse_severities(inputs.severity)
    kind, _, place = inputs.data.partition(":")
    if live is not None:
        _check_frame(inputs, "")
        shifts = [as_stored(*objects.read(live))]
    else:
        if kind not in LOADERS or bool(place) == (kind == "digits"):
            raise KdstError(
                f"--data {inputs.data!r} is not understood.{did_you_mean(kind, LOADERS)}\n"
                "Give digits, cifar10-c:DIR, cifar100-c:DIR, imagenet-c:DIR, folder:DIR or npz:FILE"
            )
        _check_frame(inputs, kind)
        shifts = LOADERS[kind](Path(place), inputs, severities)
    if inputs.corrupt:
        wanted = list(CORRUPTIONS) if inputs.corrupt == ["all"] else inputs.corrupt
        found = [n for s in shifts for c in wanted for n in _on_the_fly(s, c, severities)]
        shifts = [
            *{s.key: s for s in found}.values()
        ]  # each stream once, however often it is named
    named = inputs.protocol != "none"
    shifts = _chosen_types(shifts, inputs.types, all_needed=not named)
    shifts = [evolve(s, seed=seed) for s in shifts]
    if inputs.images is not None:
        across = live is None and kind in FOLDERS
        counts = [min(inputs.images, len(s.labels)) if named else inputs.images for s in shifts]
        shifts = [_taken(s, n, across=across) for s, n in zip(shifts, counts, strict=True)]
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
        from kdst_adapt.default.data import table

        found = table()
        return [] if found is None else [found]
    if kind == "folder":
        return folders.subfolders(Path(place))
    if kind == "imagenet-c":
        return type_folders(Path(place))
    return [Path(place) if kind == "npz" else Path(place, "labels.npy")]


def _check_frame(inputs: AdaptInputs, kind: str) -> None:
    """Raise KdstError for --resize and --crop that do not fit the data or each other."""
    given = [f for f, v in (("--resize", inputs.resize), ("--crop", inputs.crop)) if v is not None]
    if given and kind not in FOLDERS:
        raise KdstError(f"{given[0]} is for folder:DIR and imagenet-c:DIR, whose images are files")
    if inputs.resize and inputs.crop and inputs.crop > inputs.resize:
        raise KdstError(
            f"--crop {inputs.crop} is larger than --resize {inputs.resize}; at most the same is allowed"
        )


def _on_the_fly(shift: Shift, wanted: str, severities: list[int]) -> list[Shift]:
    """Return a shift under a corruption, once for each severity that is wanted."""
    name, _, level = wanted.partition(":")
    corrupt.check(name)
    full = name if shift.name == "clean" else f"{shift.name}{shift.severity}+{name}"
    return [
        evolve(shift, name=full, severity=severity, corruption=(name, severity), table=None)
        for severity in (parse_severities(level) if level else severities)
    ]


def _chosen_types(shifts: list[Shift], types: list[str], *, all_needed: bool) -> list[Shift]:
    """Return the shifts of the wanted types, in the wanted order.

    KdstError for a type that the data do not have, where all are needed, else where they have none.
    """
    if not types:
        return shifts
    known = dict.fromkeys(s.name for s in shifts)
    for name in types:
        if name not in known and (all_needed or known.keys().isdisjoint(types)):
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
