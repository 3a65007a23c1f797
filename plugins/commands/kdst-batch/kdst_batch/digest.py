"""The digest by which a comparison names a run: whatever decides its result is in it."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdst_core import __version__
from kdst_core.options import Given, build, plain
from kdst_core.plugins import registry
from kdst_core.plugins.elsewhere import PLACES
from kdst_core.runs.setup import Setup

MOST = 100_000
"""Files of a folder that are looked at; of those beyond it, only their folders are."""
CLAIMS = "claims.py"
"""Where a method's package keeps its claims."""
FACTORY = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_]\w*")
"""A function of a module, `my_package.my_module:build`."""


def digest(setup: Setup, merged: Mapping[str, Given]) -> str:
    """Return a digest of what decides a run: versions, the method's code, options, files they name."""
    plugin = setup.method.plugin
    sections = {s.table: plain(build(s, merged)) for s in setup.sections}
    bench = _version(setup.bench.package)
    place = PLACES.get(plugin.package)
    text = json.dumps(
        {
            "versions": [
                __version__,
                plugin.qualified,
                plugin.version,
                setup.bench.package,
                bench,
            ],
            "code": _code(plugin.entry.module),
            "options": sections,
            "files": [_stamp(v) for t in sections.values() for v in t.values()],
            **({"environment": place.digest} if place else {}),
        },
        sort_keys=True,
        default=str,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def of_inputs(setup: Setup, merged: Mapping[str, Given]) -> str:
    """Return a digest of what decides a run beside its method: the bench, its inputs, seed, files."""
    inputs, _, run = setup.sections
    options = [plain(build(section, merged)) for section in (inputs, run)]
    what = {
        "versions": [__version__, setup.bench.package, _version(setup.bench.package)],
        "code": _code(setup.bench.package.replace("-", "_")),
        "options": options,
        "files": [_stamp(value) for value in options[0].values()],
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


def _code(module: str) -> str:
    """Return a digest of the Python files of a method's package, so that an edited method runs anew.

    What it claims decides no run.
    """
    spec = registry.find_source(module.partition(".")[0])
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [p for f in folders for p in sorted(Path(f).rglob("*.py"))]
    files = [p for p in files if p.name != CLAIMS]
    if spec and spec.origin and not files:
        files = [Path(spec.origin)]
    return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()


def _version(package: str) -> str:
    """Return an installed version."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _stamp(value: Any) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of what a value names: a file, a folder's files, a module."""
    if not isinstance(value, str) or not value:
        return []
    place = Path(value if Path(value).exists() else value.partition(":")[2] or value)
    if not place.exists():
        named = FACTORY.fullmatch(value)
        source = _source(named[1]) if named else None
        return [] if source is None else [_state(source, source.name)]
    if not place.is_dir():
        return [_state(place, place.name)]
    found: list[tuple[str, int, int]] = []
    for root, folders, files in os.walk(place):
        folders.sort()
        below = Path(root).relative_to(place)
        names = [*folders, *sorted(files)] if len(found) < MOST else folders
        found += [_state(Path(root, name), str(below / name)) for name in names]
    return found


def _state(path: Path, name: str) -> tuple[str, int, int]:
    """Return a name, and size and time of change of a path; of a broken link those of the link."""
    status = path.stat() if path.exists() else path.lstat()
    return name, status.st_size, status.st_mtime_ns


def _source(module: str) -> Path | None:
    """Return the file of a module that lies here or is installed, None where there is none."""
    here = Path(*module.split(".")).with_suffix(".py")
    if here.is_file():
        return here
    spec = registry.find_source(module)
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None
