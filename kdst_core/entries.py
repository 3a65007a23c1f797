"""Entry points and docstrings of installed packages, read from their files alone.

`importlib.metadata` costs more to import than the rest of `kdst --help`. What is listed for a person is
read here; what is loaded is looked up by `kdst_core.registry`.
"""

import os
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

DOCSTRING = re.compile(rb'\s*(?:#[^\n]*\n\s*)*[rR]?"""([^\n"\\]+)')


COMMANDS = "kdst.commands"
COMMAND_CATALOGUE = dict.fromkeys(("export", "render", "view"), "kdst-reconstruct")
"""Published commands outside the core and the package of each, for 'not installed' messages."""


class Entry(NamedTuple):
    """A line of an `entry_points.txt`: its name and the object that it stands for."""

    name: str
    value: str


def commands() -> dict[str, str]:
    """Return the commands that installed packages add, each with one line; nothing is imported."""
    return {e.name: first_line(e.value.partition(":")[0]) for e in listed(COMMANDS)}


def listed(group: str) -> list[Entry]:
    """Return the entry points of a group in the folders of sys.path, by name.

    The first of two installations of a package counts, as it does when it is imported.
    """
    seen: set[str] = set()
    found = []
    for folder, name in _metadata_folders():
        key = re.sub(r"[-_.]+", "_", name.partition("-")[0]).lower()
        if key not in seen:
            seen.add(key)
            found += _entries(os.path.join(folder, name, "entry_points.txt"), group)
    return sorted(found)


def _metadata_folders() -> Iterator[tuple[str, str]]:
    """Yield (folder, name) of every folder of metadata on sys.path."""
    for folder in sys.path:
        try:
            names = sorted(os.listdir(folder or "."))
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                yield folder or ".", name


def _entries(path: str, group: str) -> list[Entry]:
    """Return the entry points of a group in one file; none where there is no file."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, ValueError):
        return []
    if f"[{group}]" not in text:
        return []
    found, inside = [], False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line == f"[{group}]"
        elif inside and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            found.append(Entry(name.strip(), value.strip()))
    return found


def find_source(module: str) -> Any | None:
    """Return the import spec of a dotted module without importing its parent packages."""
    path: Any = None
    spec = None
    for depth in range(1, module.count(".") + 2):
        name = ".".join(module.split(".")[:depth])
        finders = (f for f in sys.meta_path if hasattr(f, "find_spec"))
        spec = next((s for f in finders if (s := f.find_spec(name, path, None))), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def first_line(module: str) -> str:
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
    return _parsed_first_line(source)


def _parsed_first_line(source: bytes) -> str:
    """Return the first line of a docstring in any notation."""
    import ast

    try:
        doc = ast.get_docstring(ast.parse(source))
    except (SyntaxError, ValueError):
        return ""
    return doc.splitlines()[0] if doc else ""
