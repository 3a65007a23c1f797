"""Whether the binary files of a COLMAP model are whole: its own reader takes what is cut off for zeros."""

import struct
from collections.abc import Callable
from pathlib import Path

from kdst_core.errors import KdstError

PARAMETERS = (3, 4, 4, 5, 8, 8, 12, 5, 4, 5, 12)
"""Numbers of each camera model, by COLMAP's identifier."""
CAMERA, POSE, POINT = struct.Struct("<IiQQ"), struct.Struct("<I7dI"), struct.Struct("<Q3d3Bd")
COUNT = struct.Struct("<Q")
UNKNOWN = -1
"""In place of an end that cannot be told."""
MARK, TRACK = 24, 8
"""Bytes of a point in an image, and of an image in the track of a point."""


def check_whole(folder: Path) -> None:
    """Raise KdstError when cameras.bin, images.bin or points3D.bin ends early."""
    for name, noun, end_of in (
        ("cameras", "cameras", _camera),
        ("images", "images", _image),
        ("points3D", "points", _point),
    ):
        path = folder / f"{name}.bin"
        if path.is_file():
            _check(path, noun, end_of)


def _check(path: Path, noun: str, end_of: Callable[[bytes, int], int]) -> None:
    """Raise KdstError when a file ends before all that it counts is there."""
    data = path.read_bytes()
    if len(data) < COUNT.size:
        raise KdstError(f"{path} is truncated: it has {len(data)} bytes")
    (count,), end = COUNT.unpack_from(data), COUNT.size
    for number in range(count):
        try:
            end = end_of(data, end)
        except (struct.error, ValueError):
            end = len(data) + 1
        if end == UNKNOWN:
            return
        if end > len(data):
            raise KdstError(
                f"{path} is truncated: {number} of {count} {noun} are there; it"
                " cannot be read as a COLMAP model"
            )


def _camera(data: bytes, start: int) -> int:
    """Return where a camera ends; a model that is not known is left to COLMAP's reader."""
    model = CAMERA.unpack_from(data, start)[1]
    if not 0 <= model < len(PARAMETERS):
        return UNKNOWN
    return start + CAMERA.size + 8 * PARAMETERS[model]


def _image(data: bytes, start: int) -> int:
    """Return where an image ends: pose, name up to a zero, and its points."""
    POSE.unpack_from(data, start)
    name_end = data.index(b"\0", start + POSE.size) + 1
    (count,) = COUNT.unpack_from(data, name_end)
    return name_end + COUNT.size + MARK * int(count)


def _point(data: bytes, start: int) -> int:
    """Return where a point ends: place, colour, error, and its track."""
    POINT.unpack_from(data, start)
    (count,) = COUNT.unpack_from(data, start + POINT.size)
    return start + POINT.size + COUNT.size + TRACK * int(count)
