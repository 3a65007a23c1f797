"""Which files are photographs, and which of them a capture means that names them a little wrong."""

import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from PIL import features

HEIF = frozenset({".heic", ".heif", ".hif"})
"""Endings that are read where pillow-heif is installed."""


def _readable() -> frozenset[str]:
    """Return the endings that are read on this machine."""
    found = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}
    if features.check("avif"):
        found |= {".avif"}
    if find_spec("pillow_heif"):
        import_module("pillow_heif").register_heif_opener()
        found |= HEIF
    return frozenset(found)


SUFFIXES = _readable()


def matched(files: Sequence[Path], root: Path) -> list[Path]:
    """Return for each file that is named the one that is meant; itself where none is.

    One that is not there may have another ending (of photographs, in any case of letters) in its
    folder, or lie elsewhere below `root`. No file is meant twice, and of several none is.
    """
    claimed = {file for file in files if file.is_file()}
    there: list[Path] | None = None
    found = []
    for file in files:
        if file in claimed or file.is_file():
            found.append(file)
            continue
        there = list(_photographs(root)) if there is None else there
        beside = there if file.is_relative_to(root) else _beside(file)
        meant = _nearest(file, [f for f in (*beside, *there) if f not in claimed])
        claimed |= {meant} if meant else set()
        found.append(meant or file)
    return found


def bare(name: str) -> str:
    """Return a file's name without the endings of photographs, in small letters."""
    name = name.lower()
    while name.endswith(tuple(SUFFIXES | HEIF)):
        name = name.rpartition(".")[0]
    return name


def _nearest(file: Path, others: Sequence[Path]) -> Path | None:
    """Return the photograph of the same bare name whose place, name and ending are most alike;
    None where there is none, or two that are as alike."""

    def likeness(other: Path) -> tuple[int, bool, bool]:
        folders = zip(reversed(file.parent.parts), reversed(other.parent.parts), strict=False)
        same = 0 if file.parent != other.parent else 1000
        for mine, its in folders:
            if mine != its:
                break
            same += 1
        length = len(bare(file.name))
        letters = file.name[:length] == other.name[:length]
        return (same, letters, other.suffix.lower() == file.suffix.lower())

    alike = {other for other in others if bare(other.name) == bare(file.name)}
    ranked = sorted(alike, key=lambda other: (likeness(other), str(other)), reverse=True)
    if not ranked:
        return None
    if len(ranked) > 1 and ranked[1].parent != ranked[0].parent:
        return None if likeness(ranked[0]) == likeness(ranked[1]) else ranked[0]
    return ranked[0]


def _beside(file: Path) -> list[Path]:
    """Return the photographs in a file's folder."""
    if not file.parent.is_dir():
        return []
    return [f for f in file.parent.iterdir() if f.suffix.lower() in SUFFIXES]


def _photographs(root: Path) -> Iterator[Path]:
    """Yield all photographs below a folder, without hidden ones."""
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(".") and f != "masks"]
        for name in names:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(folder) / name
