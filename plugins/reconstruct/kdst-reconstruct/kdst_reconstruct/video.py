"""Frames of a video, evenly spread, as photographs in the user's cache."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from kdst_core.cache import user_cache
from kdst_core.errors import KdstError
from kdst_reconstruct.sfm import Progress

SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm"})


def frames(path: Path, count: int, progress: Progress) -> Path:
    """Return a folder whose images/ holds `count` frames of the video, or all if it has fewer.

    It is kept in the cache, named after the video's content; metadata is not copied. Raises KdstError
    when there is no video to read, or the folder cannot be written.
    """
    import imageio_ffmpeg

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    final = user_cache("frames") / f"{count}-{digest}"
    if final.is_dir():
        return final
    try:
        there, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    except RuntimeError as e:
        raise KdstError(f"{path} cannot be read as a video") from e
    if there < 2:
        raise KdstError(f"{path} has {there} frame{'s' if there != 1 else ''}; that is no video")
    work = final.with_name(f".{final.name}.{os.getpid()}")
    rate = min(count, there) / max(seconds, 1e-3)
    try:
        (work / "images").mkdir(parents=True)
        with progress(1, "frames") as advance:
            _extract(path, work / "images", rate, min(count, there))
            advance(1)
        os.replace(work, final)
    except OSError as e:
        raise KdstError(f"cannot write frames in {final.parent}: {e.strerror}") from e
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return final


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
