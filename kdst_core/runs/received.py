"""A run directory that somebody sent is data: what it holds is checked before anything reads it."""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kdst_core.errors import KdstError, typed_line
from kdst_core.plugins.capabilities import is_capability
from kdst_core.regular import regular

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a method, a package, a capability or a version may be called in a message."""
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls of a terminal, marks that turn the direction of a text, and halves of pairs."""
DEEPEST = 40
"""Tables in tables of a result; kdst writes four."""
LONGEST = 1 << 26
"""Bytes of a result; those that kdst writes have a few thousand."""
FIRST_BYTES = {
    ".png": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    ".npz": lambda head: head.startswith(b"PK"),
    ".mp4": lambda head: head[4:8] == b"ftyp",
}
"""Whether the first twelve bytes of a file are those of the type that its name claims."""

Test = Callable[[Any], bool]


def parse_result(path: Path, schema: int) -> dict[str, Any]:
    """Return the content of a `result.json` that fits its schema.

    Raises KdstError of one line when it cannot be read, or a key is missing or of another type.
    """
    try:
        if path.is_symlink():
            raise KdstError(f"{path} is a link; a run holds regular files only")
        data = json.loads(regular(path, LONGEST).decode("utf-8"), parse_constant=_no_constant)
        if _depth(data) > DEEPEST:
            raise RecursionError
    except RecursionError:
        raise KdstError(f"cannot read {path}: it is nested too deeply") from None
    except OSError as e:
        raise KdstError(f"cannot read {path}: it {e.strerror}") from e
    except ValueError as e:
        raise KdstError(f"cannot read {path}: {e}") from e
    if not isinstance(data, dict) or data.get("schema") != schema:
        raise KdstError(f"{path} is not a result of schema {schema}")
    for key, (fits, wanted) in SCHEMA.items():
        if key not in data:
            raise KdstError(f"{path} is no result of kdst: {key!r} is missing")
        if not fits(data[key]):
            raise KdstError(f"{path} is no result of kdst: {key!r} must be {wanted}")
    harmless: dict[str, Any] = visible(data)
    return harmless


def visible(value: Any) -> Any:
    """Return what a result holds with the characters of its texts that steer a terminal as escapes."""
    if isinstance(value, str):
        return STEERING.sub(lambda found: ascii(found[0])[1:-1], value)
    if isinstance(value, dict):
        return {visible(key): visible(v) for key, v in value.items()}
    return [visible(v) for v in value] if isinstance(value, list) else value


def misfit(place: str, error: Exception) -> KdstError:
    """Return the error for files that somebody sent, of which something else broke that read them."""
    reason = f"holds a result or an artifact that does not fit ({typed_line(error)[:200]})"
    return KdstError(f"{place} {reason}")


def _depth(value: Any) -> int:
    """Return how deep tables and lists are nested."""
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


def check_artifacts(directory: Path, artifacts: Mapping[str, str]) -> None:
    """Raise KdstError unless the artifacts are regular files inside the run, of the type they claim."""
    root = directory / "artifacts"
    if root.is_symlink():
        raise KdstError(f"{root} is a link; a run holds its own files only")
    for path in root.rglob("*") if root.is_dir() else ():
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise KdstError(f"{path} is no regular file; a run holds its own files only")
        if path.is_file() and not _claims_its_type(path):
            raise KdstError(f"{path} is not the {path.suffix[1:]} file that its name says")
    inside = directory.resolve()
    for name, relative in artifacts.items():
        if not (directory / relative).resolve().is_relative_to(inside):
            raise KdstError(f"the artifact {name!r} of {directory} lies outside the run")


def _claims_its_type(path: Path) -> bool:
    """Return whether a file begins as its suffix says; other suffixes claim nothing."""
    test = FIRST_BYTES.get(path.suffix.lower())
    if test is None:
        return True
    with path.open("rb") as file:
        return test(file.read(12))


def _no_constant(word: str) -> Any:
    """Refuse NaN and Infinity, which JSON does not have."""
    raise ValueError(f"{word} is no number")


def _named(value: Any) -> bool:
    """Return whether a value is a plain name."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _version(value: Any) -> bool:
    """Return whether a value is a version; '' where a package told none."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9.+!_-]{0,99}", value) is not None


def _number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return number and math.isfinite(float(value))
    except OverflowError:
        return False


def _table_of(test: Test) -> Test:
    """Return a test for a table whose values pass another one."""
    return lambda value: isinstance(value, dict) and all(map(test, value.values()))


def _text(value: Any) -> bool:
    """Return whether a value is text that a page can hold."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


SCHEMA: dict[str, tuple[Test, str]] = {
    "method": (_named, "a name"),
    "capability": (is_capability, "a capability that is known here"),
    "plugin": (_named, "a name"),
    "plugin_version": (_version, "a version"),
    "core_version": (_version, "a version"),
    "seed": (lambda v: isinstance(v, int) and not isinstance(v, bool), "a whole number"),
    "device": (_text, "text"),
    "options": (lambda v: isinstance(v, dict), "a table"),
    "input": (lambda v: isinstance(v, dict), "a table"),
    "seconds": (_number, "a number"),
    "metrics": (_table_of(lambda v: v is None or _number(v)), "a table of numbers"),
    "artifacts": (_table_of(_text), "a table of paths"),
    "warnings": (lambda v: isinstance(v, list) and all(map(_text, v)), "a list of texts"),
    "command": (_text, "text"),
}
"""What `result.json` always holds: a test of each value, and what it is in a user's words."""
