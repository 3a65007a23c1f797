"""What `--data` names: which kind of capture it is, and the capture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_core.cache import user_cache
from kdst_core.contracts import Capture
from kdst_core.errors import KdstError, first_line
from kdst_core.progress import Mode, progress
from kdst_reconstruct.audit import check_live
from kdst_reconstruct.captures import colmap, photographs, sfm, transforms, video
from kdst_reconstruct.captures.named import HEIF, SUFFIXES
from kdst_reconstruct.default import solids
from kdst_reconstruct.inputs import ReconstructInputs

UNREAD = (
    frozenset({".avif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf"})
    | {".rw2", ".gif", ".jxl", ".jp2"}
    | HEIF
) - SUFFIXES
"""Endings of photographs that are not read."""
KINDS = (
    "solids, a folder of photographs with or without a COLMAP model or transforms.json, or a video"
)


@frozen
class Source:
    """A capture and what its kind says of it.

    iterations: how many it asks for. test: views that its authors keep for testing.
    placement: what structure from motion did, where it was needed. said: sentences on what was
    left out or read from elsewhere.
    """

    capture: Capture
    iterations: int | None = None
    test: tuple[int, ...] = ()
    placement: sfm.Placement | None = None
    said: tuple[str, ...] = ()


def load_source(inputs: ReconstructInputs, live: Any = None, show: Mode = "auto") -> Source:
    """Return the capture, given live or named, with what is known of it; KdstError as in `load`."""
    if live is None:
        return load(inputs, lambda total, label: progress(total, label, show))
    if not isinstance(live, Capture):
        raise KdstError(f"data must be a kdst_core.contracts.Capture, not {type(live).__name__}")
    check_live(live)
    return Source(live)


def load(inputs: ReconstructInputs, progress: sfm.Progress) -> Source:
    """Read the capture, finding cameras first where it has none; KdstError when it has to end."""
    if inputs.data == "solids":
        scale = (inputs.width or solids.WIDTH // inputs.downscale) / solids.WIDTH
        size = (round(solids.WIDTH * scale), round(solids.HEIGHT * scale))
        return Source(solids.capture(width=size[0], height=size[1]), solids.ITERATIONS)
    if not inputs.data.strip():
        raise KdstError(f"--data is empty; give {KINDS}")
    root = _named(inputs.data)
    if root.is_file():
        if root.suffix.lower() not in video.SUFFIXES:
            raise KdstError(
                f"--data {inputs.data} is a file, and no video by its ending; give {KINDS}"
            )
        frames = video.frames(root, inputs.video_frames, progress)
        return _raw(frames, "video", inputs, progress)
    if not root.is_dir():
        raise KdstError(f"--data {inputs.data}: no such folder or video; give {KINDS}")
    model = colmap.find(root)
    if model is not None:
        if not (root / "images").is_dir():
            raise KdstError(f"{root} has cameras but no images/ folder; put the photographs there")
        said = colmap.others(model)
        capture = colmap.load(root, root / "images", model, inputs, said)
        return Source(capture, said=tuple(said))
    if transforms.is_capture(root):
        split = transforms.load(root, inputs)
        return Source(split.capture, test=tuple(split.test), said=tuple(split.said))
    return _raw(root, inputs.matching, inputs, progress)


def _named(data: str) -> Path:
    """Return the path that --data means; KdstError for one that cannot be any."""
    try:
        root = Path(data).expanduser()
        root.exists()
    except (OSError, ValueError, RuntimeError) as e:
        raise KdstError(f"--data {data[:80]} is no path: {first_line(e)[:80]}; give {KINDS}") from e
    return root


def _raw(root: Path, matching: str, inputs: ReconstructInputs, progress: sfm.Progress) -> Source:
    """Place photographs without cameras by structure from motion, and read them."""
    images, found, elsewhere = _below(root)
    files = [f for f in found if _is_photograph(f) and _is_text(f)]
    broken = [f for f in files if not photographs.is_whole(f)]
    files = [f for f in files if f not in broken]
    said = _unread(found) + _broken([f.relative_to(images).as_posix() for f in broken])
    said += _elsewhere(images, [f.relative_to(root).as_posix() for f in elsewhere])
    if not files:
        raise KdstError("\n".join([f"{root} has no photographs; give {KINDS}", *said]))
    shots = []
    for file in files:
        name = file.relative_to(images).as_posix()
        mask = photographs.find_mask(root, name)
        sizes = (photographs.size_of(file), photographs.size_of(file, upright=True))
        if mask is not None and photographs.size_of(mask) not in sizes:
            raise KdstError(f"{mask} and its photograph {file} differ in size; they must agree")
        shots.append(sfm.Shot(name, file, mask))
    home = Path(inputs.sfm).expanduser() if inputs.sfm else user_cache("sfm")
    said += photographs.idle_masks(root, {shot.mask for shot in shots})
    placement = sfm.place(shots, home, matching, progress, inputs.data)
    capture = colmap.load(root, images, placement.model, inputs, said, upright=True)
    return Source(capture, placement=placement, said=tuple(said))


def _below(root: Path) -> tuple[Path, list[Path], list[Path]]:
    """Return the folder that a capture's photographs are named from, all files that may be some, and
    photographs that are none of the capture.

    They are those below images/, else those in the folder itself, else those in its folders. Those in
    the folder and in the folders in it that are not taken are the others.
    """
    inner = root / "images"
    if inner.is_dir():
        list(inner.iterdir())  # a folder that cannot be read is not an empty one
    near = [f for folder in (root, *filter(Path.is_dir, root.iterdir())) for f in _files(folder)]
    for images, found in (
        (inner, inner.rglob("*") if inner.is_dir() else ()),
        (root, root.iterdir()),
        (root, (f for f in root.rglob("*") if not _is_aside(f.relative_to(root)))),
    ):
        files = sorted(found)
        if any(map(_is_photograph, files)):
            taken = {f.resolve() for f in files}
            others = (f for f in near if _is_photograph(f) and f.resolve() not in taken)
            return images, files, sorted(f for f in others if not _is_beside(f.relative_to(root)))
    return root, files, []


def _files(folder: Path) -> list[Path]:
    """Return the files in a folder; none in one that cannot be read."""
    try:
        return [f for f in folder.iterdir() if f.is_file()]
    except OSError:
        return []


def _is_aside(path: Path) -> bool:
    """Return whether a path leads through a hidden folder or one of masks."""
    return any(part.startswith(".") or part == "masks" for part in path.parts)


def _is_beside(path: Path) -> bool:
    """Return whether a path leads where no photographs of their own are: also to smaller copies."""
    return _is_aside(path) or any(map(photographs.REDUCED.fullmatch, path.parts))


def _elsewhere(images: Path, names: Sequence[str]) -> list[str]:
    """Return a sentence on photographs that lie beside those of the capture, if there are any."""
    if not names:
        return []
    return [
        f"{_count(names)} left out, since those in {images} are used: {photographs.listed(names)}."
    ]


def _broken(names: Sequence[str]) -> list[str]:
    """Return a sentence on files that are no whole pictures, if there are any."""
    if not names:
        return []
    return [
        f"{_count(names)} skipped, cannot be read as an image: {photographs.listed(names)}."
        " Replace or remove such files."
    ]


def _is_text(path: Path) -> bool:
    """Return whether a file's name can be written as text, as COLMAP's files need it."""
    return path.as_posix() == photographs.shown(path.as_posix())


def _unread(found: Sequence[Path]) -> list[str]:
    """Return a sentence on the photographs whose format is not read, if there are any."""
    names = [f.name for f in found if f.suffix.lower() in UNREAD and not f.name.startswith(".")]
    odd = [f.name for f in found if _is_photograph(f) and not _is_text(f)]
    heif = any(Path(name).suffix.lower() in HEIF for name in names)
    todo = "Install pillow-heif, or convert them" if heif else "Convert them"
    said = [
        f"{_count(names)} in a format that is not read and left out: {photographs.listed(names)}."
        f" {todo} to JPEG."
    ]
    left_out = [
        f"{_count(odd)} left out, whose names are not UTF-8: {photographs.listed(odd)}. Rename them."
    ]
    return said * bool(names) + left_out * bool(odd)


def _count(names: Sequence[str]) -> str:
    """Return how many photographs are meant."""
    return "1 photograph is" if len(names) == 1 else f"{len(names)} photographs are"


def _is_photograph(path: Path) -> bool:
    """Return whether a file looks like a photograph."""
    shown = not path.name.startswith(".")
    return shown and path.suffix.lower() in SUFFIXES and path.is_file()
