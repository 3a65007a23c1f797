"""Which way up a photograph is and when it was taken, as its metadata says, and how cameras turn."""

from datetime import datetime
from typing import Any

import numpy as np
from PIL import ExifTags

TAG = 0x0112
"""EXIF's orientation."""
STAMP, EPOCH = "%Y:%m:%d %H:%M:%S", datetime(2000, 1, 1)
"""How EXIF writes a time."""
TURNS = {1: 0, 2: 0, 3: 2, 4: 2, 5: -1, 6: -1, 7: 1, 8: 1}
"""Orientation to the quarter turns, counterclockwise, that bring the stored picture upright."""
MIRRORED = frozenset({2, 4, 5, 7})
"""Orientations of pictures that are to be mirrored, left to right, once they are turned."""


def quarter_turns(picture: Any) -> int:
    """Return the quarter turns, counterclockwise, that bring an opened PIL image upright."""
    return TURNS.get(_orientation(picture), 0)


def is_mirrored(picture: Any) -> bool:
    """Return whether an opened PIL image is to be seen mirrored."""
    return _orientation(picture) in MIRRORED


def _orientation(picture: Any) -> int:
    """Return the orientation that metadata gives, 1 where it gives none."""
    try:
        return int(picture.getexif().get(TAG, 1))
    except (TypeError, ValueError, SyntaxError, OSError):
        return 1


def taken_at(picture: Any) -> float | None:
    """Return when an opened PIL image was taken, in seconds from any fixed time, or None."""
    try:
        exif = picture.getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
        stamp = details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        seconds = (datetime.strptime(str(stamp).strip("\0 "), STAMP) - EPOCH).total_seconds()
        part = str(details.get(ExifTags.Base.SubsecTimeOriginal, "0")).strip("\0 ")
    except (TypeError, ValueError, SyntaxError, OSError):
        return None
    return seconds + (float(f"0.{part}") if part.isdecimal() else 0.0)


def turned_size(size: tuple[int, int], turns: int) -> tuple[int, int]:
    """Return width and height after quarter turns."""
    return (size[1], size[0]) if turns % 2 else size


def turn_pixels(pixels: Any, turns: int, mirrored: bool = False) -> Any:
    """Return an array (H, W, ...) after quarter turns, counterclockwise, then mirrored if it is to be."""
    turned = np.rot90(pixels, turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)


def turn_camera(K: Any, viewmat: Any, size: tuple[int, int], turns: int) -> tuple[Any, Any]:
    """Return intrinsics (3, 3) and world-to-camera matrix (4, 4) of the turned picture.

    size: width and height before. The place of the camera stays; its axes turn with the picture.
    """
    K, viewmat, (width, height) = K.copy(), viewmat.copy(), size
    for _ in range(turns % 4):
        # counterclockwise: what was right is now up, what was down is now right
        turn = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
        viewmat[:3] = turn @ viewmat[:3]
        fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
        K = np.array([[fy, 0, cy], [0, fx, width - cx], [0, 0, 1]])
        width, height = height, width
    return K, viewmat
