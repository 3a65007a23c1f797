"""Frames of a video, the sharpest of each stretch of it, as photographs in the user's cache."""

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kdst_core.cache import user_cache
from kdst_core.errors import KdstError
from kdst_core.files import whole_folder
from kdst_reconstruct.captures.sfm import Progress

CANDIDATES = 5
"""Frames of each stretch of a video among which the sharpest is taken."""
SCORED_SIDE = 480
"""Pixels of the longer side in which sharpness is compared."""
SUFFIXES = frozenset(
    {
        ".mp4",
        ".mov",
        ".m4v",
        ".avi",
        ".mkv",
        ".webm",
        ".3gp",
        ".mts",
        ".m2ts",
        ".mpg",
        ".mpeg",
        ".wmv",
    }
)


def frames(path: Path, count: int, progress: Progress) -> Path:
    """Return a folder whose images/ holds `count` frames of the video, or all if it has fewer.

    The video is cut into as many stretches of one length; of each the sharpest frame is taken, so
    that one blurred by a moving hand is not.
    It is kept in the cache, named after the video's content; metadata is not copied. Raises KdstError
    when there is no video to read, or the folder cannot be written.
    """
    import imageio_ffmpeg

    path = path.absolute()  # else ffmpeg takes a name such as "tree: 1.mp4" for a protocol
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    final = user_cache("frames") / f"sharp-{count}-{digest}"
    if final.is_dir():
        return final
    try:
        there, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    except RuntimeError as e:
        raise KdstError(f"{path} cannot be read as a video") from e
    if there < 2:
        raise KdstError(f"{path} has {there} frame{'s' if there != 1 else ''}; that is no video")
    wanted = min(count, there)
    looked_at = min(there, CANDIDATES * wanted)
    try:
        with whole_folder(final) as work, progress(looked_at + 1, "frames") as advance:
            (work / "images").mkdir()
            (work / "all").mkdir()
            _extract(path, work / "all", looked_at / max(seconds, 1e-3), looked_at)
            advance(1)
            _keep_sharpest(work / "all", work / "images", wanted, advance)
            shutil.rmtree(work / "all")
    except OSError as e:
        raise KdstError(f"cannot write frames in {final.parent}: {e.strerror}") from e
    return final


def _keep_sharpest(found: Path, folder: Path, count: int, advance: Callable[[int], None]) -> None:
    """Move the sharpest frame of each of `count` stretches into a folder, numbered from 1."""
    files = sorted(found.iterdir())
    for number, stretch in enumerate(np.array_split(np.arange(len(files)), count), 1):
        if not len(stretch):
            continue
        scores = [sharpness(files[k]) for k in stretch]
        best = files[stretch[int(np.argmax(scores))]]
        best.rename(folder / f"{number:05d}.jpg")
        advance(len(stretch))


def sharpness(path: Path) -> float:
    """Return how sharp a picture is: the variance of its Laplacian over that of its brightness."""
    from PIL import Image

    with Image.open(path) as file:
        file.thumbnail((SCORED_SIDE, SCORED_SIDE))
        grey = np.asarray(file.convert("L"), np.float64)
    inner = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * inner).var() / (grey.var() + 1.0))


def _extract(path: Path, folder: Path, rate: float, count: int) -> None:
    """Let ffmpeg write frames at a rate a second, turned as the video says, without metadata."""
    import imageio_ffmpeg

    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        *("-nostdin", "-loglevel", "error", "-i", str(path), "-map_metadata", "-1"),
        *("-vf", f"fps={rate:.6f}", "-frames:v", str(count), "-q:v", "2"),
        str(folder / "%05d.jpg"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not any(folder.iterdir()):
        reason = (done.stderr.strip().splitlines() or ["no frame was written"])[-1]
        raise KdstError(f"{path} cannot be read as a video: {reason[:160]}")
