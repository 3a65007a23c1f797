"""What is installed when a run begins: every package of kdst and every plugin, by version and content."""

import hashlib
import os
import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_core.plugins.entries import find_source
from kdst_core.plugins.installed import packages
from kdst_core.regular import kept, regular

CORE = "kdst-core"
DIGITS = 16
"""Hexadecimal digits of a digest that are recorded."""
MOST_FILES = 10_000
"""Files of a package that are read."""
MOST_BYTES = 1 << 28
"""Bytes of a package that are read; where it has more, nothing is said of its content."""
NAME, VERSION = r"[A-Za-z0-9][\w.-]{0,99}", r"[\w.+!-]{0,99}"
"""What a package and its version may look like in a record that somebody may have sent."""


@frozen
class Installed:
    """A package as it was when a run began.

    sha256: the first digits of a digest of its files; empty where they were not found or are too long.
    adds: what its entry points add, such as `adapt tea`.
    """

    version: str
    sha256: str
    adds: tuple[str, ...]


def installed() -> dict[str, Installed]:
    """Return the core and every package that adds something to kdst, by name."""
    found = {}
    for name, package in sorted(packages().items()):
        entries = [entry for entry, fault in package.readable() if not fault]
        if not entries and name != CORE:
            continue
        adds = sorted({f"{e.group.removeprefix('kdst.')} {e.name}" for e in entries})
        modules = {e.value.partition(".")[0].partition(":")[0].strip() for e in entries}
        digest = content(modules or {"kdst_core"})
        found[name] = Installed(package.version, digest, tuple(adds))
    return found


def lock() -> str:
    """Return every installed package as `name==version`, a line each, after one that names the Python."""
    versions = ((name, p.version_by_folder or p.version) for name, p in sorted(packages().items()))
    lines = [f"{n}=={v}\n" for n, v in versions if v and plain(n, NAME) and plain(v, VERSION)]
    return f"# Python {platform.python_version()}\n" + "".join(lines)


def content(modules: set[str]) -> str:
    """Return a digest of the files of top-level modules, '' where one is not found or they are too long."""
    hasher, left = hashlib.sha256(), MOST_BYTES
    for module in sorted(modules):
        source = find_source(module)
        if source is None:
            return ""
        try:
            files = list(_files(source))
            if (left := left - sum(path.stat().st_size for _, path in files)) < 0:
                return ""
            for name, path in files:
                hasher.update(os.fsencode(f"{module} {name} "))
                hasher.update(_digest(path))
        except OSError:
            return ""
    return hasher.hexdigest()[:DIGITS]


def _digest(path: Path) -> bytes:
    """Return the digest of a file, kept while the file stays as it is."""
    return kept(path, [path], lambda: hashlib.sha256(regular(path, MOST_BYTES)).digest())


def _files(source: Any) -> Iterator[tuple[str, Path]]:
    """Yield the files of a module by name and place, but for what Python makes of them."""
    folders = [Path(f) for f in source.submodule_search_locations or ()]
    if not folders and source.origin:
        yield Path(source.origin).name, Path(source.origin)
    for folder in folders:
        files = (p for p in sorted(folder.rglob("*")) if p.is_file())
        kept = [p for p in files if p.suffix != ".pyc"]
        yield from ((p.relative_to(folder).as_posix(), p) for p in kept[:MOST_FILES])


def as_json(found: Mapping[str, Installed]) -> dict[str, Any]:
    """Return what `env.json` holds of it."""
    return {
        name: {"version": i.version, "sha256": i.sha256, "adds": list(i.adds)}
        for name, i in found.items()
    }


def from_json(value: Any) -> dict[str, Installed]:
    """Return what an `env.json` holds, which somebody may have sent: lines of another form are left out."""
    found: dict[str, Installed] = {}
    for name, line in value.items() if isinstance(value, dict) else ():
        if not isinstance(line, dict) or not plain(name, NAME):
            continue
        version, sha256, adds = line.get("version"), line.get("sha256"), line.get("adds")
        fits = plain(version, VERSION) and plain(sha256, r"[0-9a-f]{0,64}")
        if fits and isinstance(adds, list) and all(plain(a, r"[\w. -]{1,200}") for a in adds):
            found[name] = Installed(str(version), str(sha256), tuple(adds))
    return found


def plain(value: Any, pattern: str) -> bool:
    """Return whether a value is a text of a form."""
    return isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None
