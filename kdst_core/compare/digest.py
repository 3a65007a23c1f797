"""The digest by which a comparison names a run: whatever decides its result is in it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdst_core import __version__, registry
from kdst_core.api import Command
from kdst_core.options import Given, build, plain


def digest(chosen: Command, merged: Mapping[str, Given]) -> str:
    """Return a digest of what decides a run: versions, the method's code, options, files they name."""
    plugin = chosen.method.plugin
    sections = {s.table: plain(build(s, merged)) for s in chosen.sections}
    bench = _version(chosen.bench.package)
    text = json.dumps(
        {
            "versions": [
                __version__,
                plugin.qualified,
                plugin.version,
                chosen.bench.package,
                bench,
            ],
            "code": _code(plugin.entry.module),
            "options": sections,
            "files": [_stamp(v) for t in sections.values() for v in t.values()],
        },
        sort_keys=True,
        default=str,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _code(module: str) -> str:
    """Return a digest of the Python files of a method's package, so that an edited method runs anew."""
    spec = registry.find_source(module.partition(".")[0])
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [p for f in folders for p in sorted(Path(f).rglob("*.py"))]
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
    """Return name, size and time of change of the file or the folder's files that a value names."""
    if not isinstance(value, str) or not value:
        return []
    place = Path(value if Path(value).exists() else value.partition(":")[2] or value)
    if not place.exists():
        return []
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    return [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
