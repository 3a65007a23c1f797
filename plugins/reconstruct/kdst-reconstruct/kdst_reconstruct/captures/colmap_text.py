"""The texts of a COLMAP model as programs and editors leave them: which lines are images, what their names
are, and which line cannot be read."""

import codecs
import math
import re
from pathlib import Path

PARTS = ("cameras", "images", "points3D")
FEWEST_WORDS = {"cameras": 5, "images": 10, "points3D": 8}
"""Words of the shortest line that tells of a camera, an image and a point."""
NUMBERS = {"cameras": slice(2, None), "images": slice(9), "points3D": slice(8)}
"""Which of its words are numbers."""
_NUMBER = re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?|nan|-?inf", re.IGNORECASE)


def is_odd(folder: Path) -> bool:
    """Return whether a text of a model begins with a byte order mark, as some editors write it, or
    lacks lines of points, without which images are passed over in silence."""
    files = [folder / f"{part}.txt" for part in PARTS]
    if any(file.is_file() and file.read_bytes()[:3] == codecs.BOM_UTF8 for file in files):
        return True
    found = lines(folder / "images.txt")
    return with_points(found) != found


def write_mended(folder: Path, target: Path) -> None:
    """Write the texts of a model into another folder, without byte order marks, and with a line of
    points for every image."""
    for file in folder.glob("*.txt"):
        (target / file.name).write_bytes(file.read_bytes().removeprefix(codecs.BOM_UTF8))
    images = target / "images.txt"
    images.write_text("\n".join([*with_points(lines(images)), ""]), encoding="utf-8")


def lines(path: Path) -> list[str]:
    """Return the lines of a text without comments; only a line feed ends one, since names may hold
    other separators."""
    return [line for _, line in _numbered(path)]


def _numbered(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text without comments, with their numbers from 1."""
    text = path.read_text(encoding="utf-8-sig", errors="replace").removesuffix("\n")
    rows = [(k, line.rstrip("\r")) for k, line in enumerate(text.split("\n"), 1)] if text else []
    return [(number, line) for number, line in rows if not line.startswith("#")]


def with_points(found: list[str]) -> list[str]:
    """Return the lines of images.txt, two for every image: the second, its points, is often empty, and
    some programs and editors leave it out."""
    pairs: list[str] = []
    for line in found:
        if _is_image(line):
            pairs += [""] * (len(pairs) % 2) + [line]
        elif len(pairs) % 2 or line.strip():
            pairs.append(line)
    return pairs + [""] * (len(pairs) % 2)


def _is_image(line: str) -> bool:
    """Return whether a line of images.txt tells of an image: nine numbers and a name, where a line of
    points has numbers only."""
    words = line.split(maxsplit=9)
    if len(words) < 10 or not (words[0].isdigit() and words[8].isdigit()):
        return False
    return any(_NUMBER.fullmatch(word) is None for word in words[9].split())


def whole_names(path: Path) -> dict[int, str]:
    """Return the names in images.txt by image: pycolmap cuts them at the first space."""
    rows = (line.split(maxsplit=9) for line in lines(path)[::2])
    return {int(words[0]): words[9].rstrip() for words in rows if len(words) == 10}


def fault(folder: Path) -> str:
    """Return which line of a model's texts is the first that no camera, image or point can be read
    from; empty where none is seen."""
    for part in PARTS:
        path = folder / f"{part}.txt"
        rows = _numbered(path) if path.is_file() else []
        if part == "images":
            rows = [row for k, row in enumerate(rows) if k % 2 == 0 or _is_image(row[1])]
        for number, line in rows:
            if line.strip() and not _can_be_read(line, part):
                return f"line {number} of {path.name} is {line.strip()[:60]!r}"
    return ""


def _can_be_read(line: str, part: str) -> bool:
    """Return whether the numbers of a line are there and finite."""
    words = line.split()
    if len(words) < FEWEST_WORDS[part]:
        return False
    try:
        values = [float(word) for word in words[NUMBERS[part]]]
    except ValueError:
        return False
    sound = all(map(math.isfinite, values))
    return sound and (part != "cameras" or _is_camera(words[1], values))


def _is_camera(model: str, values: list[float]) -> bool:
    """Return whether a camera model takes as many parameters as follow width and height in `values`."""
    import pycolmap

    try:
        with pycolmap.ostream():
            return bool(pycolmap.Camera(model=model, params=values[2:]).verify_params())
    except (ValueError, RuntimeError):
        return False
