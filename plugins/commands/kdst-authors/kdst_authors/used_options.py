"""Which options of a package its code reads, from the source alone."""

import ast
from pathlib import Path
from typing import Any

import attrs

from kdst_core.plugins import registry

WHOLE = frozenset({"asdict", "astuple", "evolve"})
"""Functions of attrs that take every option at once."""


def unused(module: str, options: type) -> list[str]:
    """Return the options that a package adds and that none of its modules reads.

    module: the entry module; its top package is searched. Options of a base class from another
    package are that package's.
    """
    top = module.partition(".")[0]
    read = _read(_sources(top))
    if read & WHOLE:
        return []
    return sorted(_own(options, top) - read)


def _own(options: type, top: str) -> set[str]:
    """Return the names of the options that classes of the package define, nested ones included."""
    foreign = {
        field.name
        for base in options.__mro__[1:]
        if attrs.has(base) and base.__module__.partition(".")[0] != top
        for field in attrs.fields(base)
    }
    found: set[str] = set()
    for field in attrs.fields(options):
        if isinstance(field.type, type) and attrs.has(field.type):
            found |= _own(field.type, top)
        elif field.name not in foreign:
            found.add(field.name)
    return found


def _sources(top: str) -> list[Path]:
    """Return the Python files of a package, or the one of a module."""
    spec: Any = registry.find_source(top)
    folders = spec.submodule_search_locations if spec else None
    if folders:
        return [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
    return [Path(spec.origin)] if spec and spec.origin else []


def _read(paths: list[Path]) -> set[str]:
    """Return the attributes that are read, and the texts and functions that may name one."""
    found: set[str] = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found.add(node.func.id)
    return found
