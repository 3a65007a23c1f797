"""Structure from motion: cameras and points of a folder of photographs, by COLMAP on the CPU.

More points are kept than by COLMAP's defaults, fainter ones and those that only two photographs see,
since training starts from them. The result lies beside the photographs, under a name made from their
content. COLMAP works on copies without metadata, so a position in the EXIF reaches no file.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen
from PIL import Image

from kdst_core.errors import KdstError
from kdst_core.rundir import write_atomically

Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]

LONGEST_SIDE = 1600
"""Pixels of the longest side that features are sought in; larger ones take long without a GPU."""
MIN_INLIERS = 15
"""Verified matches that make two photographs a pair, COLMAP's default."""
FEWEST = 3
"""Photographs of a model that is worth a scene."""
SHARE_EXPECTED = 0.9
SETTINGS = "1"
"""Changed with whatever changes the result, so that an older one is not taken for it."""
PREFIX = "sfm-"


@frozen
class Shot:
    """A photograph to place: its name, its file and that of its mask."""

    name: str
    file: Path
    mask: Path | None = None


@frozen
class Placement:
    """What structure from motion made of the photographs.

    model: the folder of the largest model. sizes: photographs of each group that does
    not overlap with the others, the largest first.
    pairs: those that match, of all that were compared.
    """

    model: Path
    images: int
    registered: int
    left_out: Sequence[str]
    sizes: Sequence[int]
    pairs: int
    compared: int
    rotated: int = field(default=0)

    def warnings(self) -> list[str]:
        """Return what a reader of the scene must know."""
        found = []
        if self.left_out:
            names = ", ".join(self.left_out[:8]) + (" …" if len(self.left_out) > 8 else "")
            few = self.registered < SHARE_EXPECTED * self.images
            found.append(
                f"Structure from motion placed {self.registered} of {self.images} photographs;"
                f" left out: {names}."
                + " Fewer than 90 %: more overlap between neighbours would help."
                * few
            )
        if len(self.sizes) > 1:
            found.append(
                f"The photographs fall into {len(self.sizes)} groups that do not overlap"
                f" ({', '.join(map(str, self.sizes))} photographs); the largest is used."
            )
        if self.rotated:
            found.append(
                f"{self.rotated} photographs are marked as rotated; all are kept as the sensor"
                " recorded them, so renders may lie on their side."
            )
        return found


def place(
    shots: Sequence[Shot], home: Path, sequential: bool, progress: Progress, label: str
) -> Placement:
    """Return the placement of photographs from `home`, where it is kept, or find and keep it.

    sequential: neighbours in name order overlap, as in a video. Raises KdstError when there is
    nothing to place, or nothing can be.
    """
    if len(shots) < 2:
        raise KdstError(
            f"{label}: {len(shots)} photograph{'s' if len(shots) != 1 else ''}; at least 2 that"
            " overlap are needed, 20 or more are better"
        )
    final = home / f"{PREFIX}{_key(shots, sequential)}"
    if (final / "placement.json").is_file():
        return _read(final)
    try:
        with _workplace(home, final.name) as work:
            placement = _reconstruct(shots, work, sequential, progress, label)
            result = work / "result"
            write_atomically(result / "placement.json", _dump(placement))
            os.replace(result, final)
    except OSError as e:
        raise KdstError(
            f"structure from motion cannot write beside the photographs, in {home}: {e.strerror}."
            "\nCopy them to a folder that can be written"
        ) from e
    return _read(final)


def _key(shots: Sequence[Shot], sequential: bool) -> str:
    """Return a digest of all photographs and masks."""
    digest = hashlib.sha256(f"{SETTINGS} {LONGEST_SIDE} {sequential}".encode())
    for shot in shots:
        for path in (shot.file, shot.mask):
            digest.update(shot.name.encode() + b"\0")
            if path is not None:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _dump(placement: Placement) -> str:
    """Return a placement as text, without its folder."""
    values = asdict(placement, filter=lambda a, _: a.name != "model")
    return json.dumps(values, indent=2) + "\n"


def _read(folder: Path) -> Placement:
    """Return the placement that a folder keeps."""
    return Placement(folder / "sparse", **json.loads((folder / "placement.json").read_text()))


@contextmanager
def _workplace(home: Path, name: str) -> Iterator[Path]:
    """Give a folder beside the photographs, removed in the end or when they cannot be placed.

    After a kill it stays, with the features found so far.
    """
    from filelock import FileLock, Timeout

    work = home / f".{name}.part"
    try:
        work.mkdir(exist_ok=True)
        with FileLock(work / ".lock", timeout=0):
            yield work
    except Timeout:
        raise KdstError(f"another process places the photographs of {home}; wait for it") from None
    except KdstError:
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)


def _reconstruct(
    shots: Sequence[Shot], work: Path, sequential: bool, progress: Progress, label: str
) -> Placement:
    """Find features, match them, and place the photographs; the model lies in work/result."""
    import pycolmap

    shutil.rmtree(work / "result", ignore_errors=True)
    (work / "result").mkdir()
    pycolmap.logging.minloglevel = int(pycolmap.logging.FATAL)
    pycolmap.set_random_seed(0)
    database = work / "features.db"
    rotated = _extract(shots, work, database, progress)
    pairs = _pairs(len(shots), sequential)
    _match([s.name for s in shots], pairs, work, database, progress)
    with pycolmap.Database.open(database) as opened:
        matched = sum(
            count >= MIN_INLIERS for count in opened.read_two_view_geometry_num_inliers()[1]
        )
    models = _map(len(shots), work, database, progress)
    placed = models[0].num_reg_images() if models else 0
    if placed < min(FEWEST, len(shots)):
        raise KdstError(
            f"{label}: structure from motion placed {placed or 'none'} of the {len(shots)}"
            f" photographs; {matched} of {len(pairs)} pairs match.\nNeighbours must overlap by two"
            " thirds and show texture: take more, or give a COLMAP model or transforms.json"
        )
    largest = models[0]
    names = {str(image.name) for image in largest.images.values()}
    (work / "result" / "sparse").mkdir()
    largest.write(work / "result" / "sparse")
    return Placement(
        model=work / "result" / "sparse",
        images=len(shots),
        registered=len(names),
        left_out=[s.name for s in shots if s.name not in names],
        sizes=_groups(models),
        pairs=matched,
        compared=len(pairs),
        rotated=rotated,
    )


def _groups(models: Sequence[Any]) -> list[int]:
    """Return how many photographs each model adds to the larger ones, where that is a scene."""
    seen: set[str] = set()
    sizes: list[int] = []
    for model in models:
        names = {str(image.name) for image in model.images.values()} - seen
        seen |= names
        if not sizes or len(names) >= FEWEST:
            sizes.append(len(names))
    return sizes


def _pairs(count: int, sequential: bool) -> list[tuple[int, int]]:
    """Return the pairs to compare: all, or of a sequence neighbours and powers of two apart."""
    apart = {*range(1, 11), *(2**k for k in range(4, 12))}
    every = [(i, j) for j in range(count) for i in range(j)]
    return [(i, j) for i, j in every if not sequential or j - i in apart]


def _extract(shots: Sequence[Shot], work: Path, database: Path, progress: Progress) -> int:
    """Write the features of every photograph into the database; return how many are rotated.

    Photographs of one size and focal length share a camera.
    """
    import pycolmap

    copies, masks = work / "images", work / "masks"
    cameras: dict[str, int] = {}
    rotated = 0
    with pycolmap.Database.open(database) as opened, progress(len(shots), "features") as advance:
        for shot in shots:
            camera, turned = _copy(shot, copies, masks)
            rotated += turned
            if not opened.exists_image(shot.name):
                kind = f"{camera.width} {camera.height} {camera.params_to_string()}"
                if kind not in cameras:
                    cameras[kind] = opened.write_camera(camera)
                reader = pycolmap.ImageReaderOptions(existing_camera_id=cameras[kind])
                if shot.mask is not None:
                    reader.mask_path = masks
                pycolmap.extract_features(
                    database,
                    copies,
                    [shot.name],
                    reader_options=reader,
                    extraction_options=_many_features(),
                    device=pycolmap.Device.cpu,
                )
            advance(1)
    return rotated


def _many_features() -> Any:
    """Return options that take fainter features than COLMAP's: lawns and walls have few."""
    import pycolmap

    options = pycolmap.FeatureExtractionOptions()
    options.sift.peak_threshold = 0.002
    return options


def _copy(shot: Shot, copies: Path, masks: Path) -> tuple[Any, bool]:
    """Write a photograph without metadata, and its mask; return its camera and whether it is
    marked as rotated."""
    import pycolmap

    camera = pycolmap.infer_camera_from_image(shot.file)
    with Image.open(shot.file) as file:
        rotated = file.getexif().get(0x0112, 1) != 1
        picture = file.convert("RGB")
    share = min(1.0, LONGEST_SIDE / max(picture.size))
    size = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
    target = copies / shot.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as stream:
        picture.resize(size, Image.Resampling.LANCZOS).save(stream, "JPEG", quality=95)
    if shot.mask is not None:
        with Image.open(shot.mask) as file:
            mask = file.convert("L").resize(size, Image.Resampling.NEAREST)
        target = masks / f"{shot.name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        mask.save(target)
    camera.rescale(*size)
    return camera, rotated


def _match(
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    work: Path,
    database: Path,
    progress: Progress,
) -> None:
    """Match the features of pairs of photographs and keep those that agree on a geometry."""
    import pycolmap

    by_second: dict[int, list[int]] = {}
    for i, j in pairs:
        by_second.setdefault(j, []).append(i)
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = 0
    with progress(len(pairs), "matching") as advance:
        for j, firsts in by_second.items():
            lines = "".join(f"{names[i]} {names[j]}\n" for i in firsts)
            write_atomically(work / "pairs.txt", lines)
            pycolmap.match_image_pairs(
                database,
                pairing_options=pycolmap.ImportedPairingOptions(match_list_path=work / "pairs.txt"),
                verification_options=verification,
                device=pycolmap.Device.cpu,
            )
            advance(len(firsts))


def _map(count: int, work: Path, database: Path, progress: Progress) -> list[Any]:
    """Place the photographs; return the models found, the largest first."""
    import pycolmap

    options = pycolmap.IncrementalPipelineOptions()
    options.min_model_size = FEWEST
    options.triangulation.ignore_two_view_tracks = False
    options.random_seed = 0
    output = work / "models"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    left = count

    def placed(more: int) -> None:
        """Count up to all, though a second try places some again."""
        nonlocal left
        advance(min(more, left))
        left -= min(more, left)

    with progress(count, "placing") as advance:
        found: Mapping[int, Any] = pycolmap.incremental_mapping(
            database,
            work / "images",
            output,
            options,
            initial_image_pair_callback=lambda: placed(2),
            next_image_callback=lambda: placed(1),
        )
    return sorted(found.values(), key=lambda model: -model.num_reg_images())
