"""Structure from motion: cameras and points of a folder of photographs, by COLMAP on the CPU.

More points are kept than by COLMAP's defaults, fainter ones and those that only two photographs see,
since training starts from them. The result lies in the user's cache, under a name made from the
photographs' content. COLMAP works on copies that are turned upright, have neutral names and hold no
metadata, so neither a name nor a position in the EXIF can disturb or reach a file.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from attrs import asdict, frozen
from PIL import Image

from kdst_core import memory
from kdst_core.errors import KdstError
from kdst_core.files import move_folder, write_atomically
from kdst_reconstruct.captures import orientation
from kdst_reconstruct.captures.matching import chosen_pairs, is_sequential
from kdst_reconstruct.captures.photographs import eight_bits, open_image, size_of
from kdst_reconstruct.pictures import png

Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]

LONGEST_SIDE = 1600
"""Pixels of the longest side that features are sought in; larger ones take long without a GPU."""
MIN_INLIERS = 15
"""Verified matches that make two photographs a pair, COLMAP's default."""
FEWEST = 3
"""Photographs of a model that is worth a scene."""
MOST_FEATURES, PIXELS_A_FEATURE = 8192, 25
"""Features of a photograph at most, and pixels of a small one for each."""
BYTES_COPIED, BYTES_A_FEATURE = 0.6, 320
"""Room on disk: a pixel of a copy, and a feature with its matches, in the database and its log."""
ROOM_KEPT = 4 << 20
"""Bytes that are left free while COLMAP writes."""
APART = (
    "Neighbours must overlap by two thirds and show texture: take more, or give a COLMAP model or"
    " transforms.json"
)
ALIKE = (
    "They may be copies, or all taken from one place: take them from several places around the scene, or"
    " give a COLMAP model or transforms.json"
)
"""What to do where few pairs match, and where most do and yet nothing is placed."""
SHARE_EXPECTED = 0.9
SETTINGS = "3"
"""Changed with whatever changes the result, so that an older one is not taken for it."""
ORDER = " by time"
"""As SETTINGS, where the order of photographs counts."""
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
        return found


def place(
    shots: Sequence[Shot], home: Path, matching: str, progress: Progress, label: str
) -> Placement:
    """Return the placement of photographs from `home`, where it is kept, or find and keep it.

    matching: which pairs are compared, as `matching.chosen_pairs` takes it. Raises KdstError when there is
    nothing to place, or nothing can be.
    """
    if len(shots) < 2:
        raise KdstError(
            f"{label}: {len(shots)} photograph{'s' if len(shots) != 1 else ''}; at least 2 that"
            " overlap are needed, 20 or more are better"
        )
    final = home / f"{PREFIX}{_key(shots, matching)}"
    if (final / "placement.json").is_file():
        return _read(final)
    try:
        home.mkdir(parents=True, exist_ok=True)
        _check_room(home, sum(map(_room, shots)) + ROOM_KEPT)
        with _workplace(home, final.name) as work:
            placement = _reconstruct(shots, work, matching, progress, label)
            result = work / "result"
            write_atomically(result / "placement.json", _dump(placement))
            move_folder(result, final)
    except OSError as e:
        raise KdstError(
            f"structure from motion cannot write in {home}: {e.strerror}."
            "\nGive a folder that can be written: --sfm DIR"
        ) from e
    return _read(final)


def _room(shot: Shot) -> int:
    """Return about how many bytes the copy and the features of a photograph take at most."""
    width, height = size_of(shot.file)
    share = min(1.0, LONGEST_SIDE / max(width, height))
    pixels = share**2 * width * height
    features = min(MOST_FEATURES, pixels / PIXELS_A_FEATURE)
    return int(pixels * BYTES_COPIED + features * BYTES_A_FEATURE)


def _check_room(folder: Path, need: int) -> None:
    """Raise KdstError where less room is left than is needed: COLMAP's database ends the process when
    it cannot write."""
    left = shutil.disk_usage(folder).free
    if left < need:
        raise KdstError(
            f"structure from motion needs {memory.as_text(need)} of room in {folder}, and"
            f" {memory.as_text(left)} are left.\nFree some, or give another folder: --sfm DIR"
        )


def _key(shots: Sequence[Shot], matching: str) -> str:
    """Return a digest of all photographs and masks."""
    ordered = ORDER * is_sequential(matching, len(shots))
    digest = hashlib.sha256(f"{SETTINGS} {LONGEST_SIDE} {matching}{ordered}".encode())
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
    """Give a folder to work in, removed in the end or when they cannot be placed.

    After a kill it stays, with the features found so far.
    """
    from filelock import FileLock, Timeout

    work = home / f".{name}.part"
    try:
        work.mkdir(exist_ok=True)
        with FileLock(work / ".lock", timeout=0):
            yield work
    except Timeout:
        raise KdstError(
            f"another process places these photographs in {home}; wait for it"
        ) from None
    except (KdstError, OSError):
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)


def _reconstruct(
    shots: Sequence[Shot], work: Path, matching: str, progress: Progress, label: str
) -> Placement:
    """Find features, match them, and place the photographs; the model lies in work/result."""
    import pycolmap

    shutil.rmtree(work / "result", ignore_errors=True)
    (work / "result").mkdir()
    pycolmap.logging.minloglevel = int(pycolmap.logging.FATAL)
    pycolmap.set_random_seed(0)
    database = work / "features.db"
    names = [f"{number:06d}.jpg" for number in range(len(shots))]
    _extract(shots, names, work, database, progress)
    order = ([shot.name for shot in shots], names, database, [_time(shot) for shot in shots])
    pairs = chosen_pairs(matching, *order)
    _match(names, pairs, work, database, progress)
    with pycolmap.Database.open(database) as opened:
        matched = sum(
            count >= MIN_INLIERS for count in opened.read_two_view_geometry_num_inliers()[1]
        )
    models = _map(len(shots), work, database, progress)
    placed = models[0].num_reg_images() if models else 0
    if placed < min(FEWEST, len(shots)):
        todo = ALIKE if 2 * matched > len(pairs) else APART
        raise KdstError(
            f"{label}: structure from motion placed {placed or 'none'} of the {len(shots)}"
            f" photographs; {matched} of {len(pairs)} pairs match.\n{todo}"
        )
    largest, sizes = models[0], _groups(models)
    called = dict(zip(names, (shot.name for shot in shots), strict=True))
    for image in largest.images.values():
        image.name = called[str(image.name)]
    placed_names = {str(image.name) for image in largest.images.values()}
    (work / "result" / "sparse").mkdir()
    largest.write(work / "result" / "sparse")
    return Placement(
        model=work / "result" / "sparse",
        images=len(shots),
        registered=len(placed_names),
        left_out=[s.name for s in shots if s.name not in placed_names],
        sizes=sizes,
        pairs=matched,
        compared=len(pairs),
    )


def _time(shot: Shot) -> float | None:
    """Return when a photograph was taken, in seconds, where its metadata says so."""
    with open_image(shot.file) as file:
        return orientation.taken_at(file)


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


def _extract(
    shots: Sequence[Shot], names: Sequence[str], work: Path, database: Path, progress: Progress
) -> None:
    """Write the features of every photograph into the database, under neutral names.

    Photographs of one size and focal length share a camera.
    """
    import pycolmap

    copies, masks = work / "images", work / "masks"
    cameras: dict[str, int] = {}
    with pycolmap.Database.open(database) as opened, progress(len(shots), "features") as advance:
        for shot, name in zip(shots, names, strict=True):
            _check_room(work, ROOM_KEPT)
            camera = _copy(shot, name, copies, masks)
            if not opened.exists_image(name):
                kind = f"{camera.width} {camera.height} {camera.params_to_string()}"
                if kind not in cameras:
                    cameras[kind] = opened.write_camera(camera)
                reader = pycolmap.ImageReaderOptions(existing_camera_id=cameras[kind])
                if shot.mask is not None:
                    reader.mask_path = masks
                pycolmap.extract_features(
                    database,
                    copies,
                    [name],
                    reader_options=reader,
                    extraction_options=_many_features(),
                    device=pycolmap.Device.cpu,
                )
            advance(1)


def _many_features() -> Any:
    """Return options that take fainter features than COLMAP's: lawns and walls have few."""
    import pycolmap

    options = pycolmap.FeatureExtractionOptions()
    options.sift.peak_threshold = 0.002
    return options


def _copy(shot: Shot, name: str, copies: Path, masks: Path) -> Any:
    """Write a photograph upright and without metadata, and its mask; return its camera."""

    with open_image(shot.file) as file:
        turns, mirrored = orientation.quarter_turns(file), orientation.is_mirrored(file)
        stored, exif = eight_bits(file).convert("RGB"), file.getexif()
    camera = _inferred(shot.file, stored, exif)
    picture = _turned(stored, turns, mirrored)
    if turns % 2:
        camera.width, camera.height = camera.height, camera.width
        params = np.array(camera.params)
        rows = list(camera.principal_point_idxs())
        params[rows] = params[rows[::-1]]
        camera.params = params.tolist()
    share = min(1.0, LONGEST_SIDE / max(picture.size))
    size = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
    copies.mkdir(parents=True, exist_ok=True)
    with (copies / name).open("wb") as stream:
        picture.resize(size, Image.Resampling.LANCZOS).save(stream, "JPEG", quality=95)
    if shot.mask is not None:
        with open_image(shot.mask) as file:
            mask = file.convert("L")
        if mask.size == stored.size:
            mask = _turned(mask, turns, mirrored)
        masks.mkdir(parents=True, exist_ok=True)
        scaled = mask.resize(size, Image.Resampling.NEAREST)
        (masks / f"{name}.png").write_bytes(png(scaled))
    camera.rescale(*size)
    return camera


def _turned(picture: Image.Image, turns: int, mirrored: bool) -> Image.Image:
    """Return a stored picture as it is seen."""
    upright = picture.rotate(90 * turns, expand=True)
    return upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else upright


def _inferred(path: Path, picture: Image.Image, exif: Image.Exif) -> Any:
    """Return the camera of a photograph by its size and the focal length in its metadata.

    What COLMAP's own reader does not open is given to it as a JPEG, whatever its ending says.
    """
    import pycolmap

    try:
        return pycolmap.infer_camera_from_image(path)
    except (ValueError, RuntimeError):
        pass
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.jpg"
        picture.save(copy, "JPEG", exif=exif)
        return pycolmap.infer_camera_from_image(copy)


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
            _check_room(work, ROOM_KEPT)
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
