"""Entry points and docstrings of installed packages, read from their files alone.

`importlib.metadata` costs more to import than the rest of `kdst --help`. What is listed for a person is
read here; what is loaded is looked up by `kdst_core.plugins.registry`.
"""

import os
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from kdst_core.regular import MOST, regular

DOCSTRING = re.compile(rb'\s*(?:#[^\n]*\n\s*)*[rR]?"""([^\n"\\]+)')


COMMANDS = "kdst.commands"


MOST_ENTRIES = 500
"""Entry points of kdst that a package may have; where there are more, none is read."""
RESERVED_NAMES = ("input", "run")
"""Tables of every configuration, so that no method can have their names."""


def is_name(name: str) -> bool:
    """Return whether something that is registered may have a name: none looks like a flag or a path."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) is not None


class Entry(NamedTuple):
    """A line of an `entry_points.txt`: its name and the object that it stands for."""

    name: str
    value: str


def commands() -> dict[str, str]:
    """Return the commands that installed packages add, each with one line; nothing is imported."""
    return {e.name: docstring_line(e.value.partition(":")[0]) for e in listed(COMMANDS)}


def listed(group: str) -> list[Entry]:
    """Return the entry points of a group in the folders of sys.path, by name.

    The first of two installations of a package counts, as it does when it is imported.
    """
    seen: set[str] = set()
    entries = []
    for folder, name in _metadata_folders():
        key = re.sub(r"[-_.]+", "_", name.partition("-")[0]).lower()
        if key not in seen:
            seen.add(key)
            entries += _entries(_text(folder, name), group)
    return sorted(entries)


def _metadata_folders() -> Iterator[tuple[str, str]]:
    """Yield (folder, name) of every folder of metadata on sys.path."""
    for folder in sys.path:
        try:
            names = sorted(os.listdir(folder or "."))
        except NotADirectoryError:
            names = _zipped(folder)
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                yield folder or ".", name


def _zipped(archive: str) -> list[str]:
    """Return the folders of metadata at the top of an archive on sys.path."""
    import zipfile

    if not os.path.isfile(archive):
        return []
    try:
        with zipfile.ZipFile(archive) as file:
            return sorted({name.partition("/")[0] for name in file.namelist()})
    except (OSError, zipfile.BadZipFile):
        return []


def _text(folder: str, name: str) -> str:
    """Return the entry points of a folder of metadata; what is not UTF-8 is replaced."""
    try:
        if os.path.isfile(folder):
            import zipfile

            where = f"{name}/entry_points.txt"
            with zipfile.ZipFile(folder) as archive, archive.open(where) as file:
                return file.read(MOST).decode("utf-8", "replace")
        return regular(os.path.join(folder, name, "entry_points.txt")).decode("utf-8", "replace")
    except (OSError, KeyError, ValueError):
        return ""


def _entries(text: str, group: str) -> list[Entry]:
    """Return the entry points of a group whose lines are right."""
    if f"[{group}]" not in text:
        return []
    found, inside = [], False
    for line in map(str.strip, text.removeprefix("\ufeff").splitlines()):
        if line.startswith("["):
            inside = line == f"[{group}]"
        elif inside and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            if is_name(name.strip()):
                found.append(Entry(name.strip(), value.strip()))
    return found if len(found) <= MOST_ENTRIES else []


def find_source(module: str) -> Any | None:
    """Return the import spec of a dotted module without importing its parent packages."""
    path: Any = None
    spec = None
    for depth in range(1, module.count(".") + 2):
        name = ".".join(module.split(".")[:depth])
        spec = next((s for f in sys.meta_path if (s := _found(f, name, path))), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        path = None if path is None else list(path)
    return spec


def _found(finder: Any, name: str, path: Any) -> Any | None:
    """Return what one finder knows of a module, None where it fails.

    The finder of paths asks for the parents of a namespace package, which are not imported, unless it is
    given the last part of the name alone.
    """
    import importlib.machinery

    last = finder is importlib.machinery.PathFinder
    try:
        return finder.find_spec(name.rpartition(".")[2] if last else name, path, None)
    except Exception:
        return None


def docstring_line(module: str) -> str:
    """Return the first line of a module's docstring without importing it, empty when it has none."""
    spec = find_source(module)
    if not (spec and spec.origin and spec.origin.endswith(".py")):
        return ""
    try:
        with open(spec.origin, "rb") as file:
            source = file.read()
    except OSError:
        return ""
    plain = DOCSTRING.match(source)
    if plain:
        return plain[1].decode("utf-8", "replace").strip()
    return _parsed_docstring_line(source)


def _parsed_docstring_line(source: bytes) -> str:
    """Return the first line of a docstring in any notation."""
    import ast

    try:
        doc = ast.get_docstring(ast.parse(source))
    except (SyntaxError, ValueError):
        return ""
    return doc.splitlines()[0] if doc else ""
