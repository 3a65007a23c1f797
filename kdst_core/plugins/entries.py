"""Entry points and docstrings of installed packages, read from their files alone.

`importlib.metadata` costs more to import than the rest of `kdst --help`. What is listed for a person is
read here; what is loaded is looked up by `kdst_core.plugins.registry`.
"""

import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from kdst_core.regular import MOST, regular

COMMANDS = "kdst.commands"
MOST_ENTRIES = 500
"""Entry points of kdst that a package may have; where there are more, none is read."""
RESERVED_NAMES = ("input", "run")
"""Tables of every configuration, so that no method can have their names."""


def is_name(name: str) -> bool:
    """Return whether something that is registered may have a name: none looks like a flag or a path."""
    right = name.isascii() and name[:1].isalnum() and len(name) <= 100
    return right and all(c.isalnum() or c in "._-" for c in name)


class Entry(NamedTuple):
    """A line of an `entry_points.txt`: its name and the object that it stands for."""

    name: str
    value: str


def commands() -> dict[str, str]:
    """Return the commands that installed packages add, each with one line; nothing is imported."""
    modules = {e.name: e.value.partition("[")[0].partition(":")[0] for e in listed(COMMANDS)}
    return {name: docstring_line(module.strip()) for name, module in modules.items()}


def listed(group: str) -> list[Entry]:
    """Return the entry points of a group in the folders of sys.path, by name.

    The first of two installations of a package counts, as it does when it is imported.
    """
    seen: set[str] = set()
    entries = []
    for folder, name in _metadata_folders():
        key = name.rpartition(".")[0].partition("-")[0].replace(".", "_").lower()
        while "__" in key:
            key = key.replace("__", "_")
        if key not in seen:
            seen.add(key)
            entries += _entries(_table(folder, name), group)
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


def _table(folder: str, name: str) -> bytes:
    """Return the entry points of a folder of metadata, which may lie in an archive."""
    where = f"{name}/entry_points.txt"
    try:
        return regular(os.path.join(folder, where))
    except NotADirectoryError:
        return _from_archive(folder, where) if os.path.isfile(folder) else b""
    except (OSError, ValueError):
        return b""


def _from_archive(archive: str, where: str) -> bytes:
    """Return the start of a file in an archive, nothing where it has none."""
    import zipfile

    try:
        with zipfile.ZipFile(archive) as files, files.open(where) as file:
            return file.read(MOST)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return b""


def _entries(table: bytes, group: str) -> list[Entry]:
    """Return the entry points of a group whose lines are right; what is not UTF-8 is replaced."""
    if f"[{group}]".encode() not in table:
        return []
    found, inside = [], False
    lines = table.decode("utf-8", "replace").removeprefix("\ufeff").splitlines()
    for line in map(str.strip, lines):
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
    return _plain_docstring_line(source) or _parsed_docstring_line(source)


def _plain_docstring_line(source: bytes) -> str:
    """Return the first line of a docstring in three double quotes without escapes, else an empty text."""
    rest = source.lstrip()
    while rest.startswith(b"#"):
        rest = rest.partition(b"\n")[2].lstrip()
    rest = rest[1:] if rest[:1] in (b"r", b"R") else rest
    line = rest.partition(b"\n")[0]
    if not line.startswith(b'"""') or b"\\" in line:
        return ""
    return line[3:].partition(b'"""')[0].decode("utf-8", "replace").strip()


def _parsed_docstring_line(source: bytes) -> str:
    """Return the first line of a docstring in any notation."""
    import ast

    try:
        doc = ast.get_docstring(ast.parse(source))
    except (SyntaxError, ValueError):
        return ""
    return doc.splitlines()[0] if doc else ""
