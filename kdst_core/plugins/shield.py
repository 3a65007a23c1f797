"""Libraries that list entry points, as torch does when it is imported, pass over faulty packages."""

import contextlib
import functools
from importlib import metadata
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any

from kdst_core.plugins.installed import ENTRY_POINTS, packages
from kdst_core.regular import refuse_other


def shield_libraries() -> None:
    """Let libraries that list entry points, as torch does when it is imported, pass over faulty packages.

    `importlib.metadata.entry_points` answers as before, and only where it would raise or wait without
    those packages whose entry points cannot be read.
    """
    original = metadata.entry_points
    if getattr(original, "shielded", False):
        return

    @functools.wraps(original)
    def tolerant(**wanted: Any) -> Any:
        if not any(map(_waits, distributions())):
            with contextlib.suppress(TypeError, ValueError):
                return original(**wanted)
        return _readable().select(**wanted)

    vars(tolerant)["shielded"] = True
    metadata.entry_points = tolerant


def _waits(dist: Distribution) -> bool:
    """Return whether the entry points of a distribution are no file, but something to wait for."""
    folder = getattr(dist, "_path", None)
    try:
        if isinstance(folder, Path):
            refuse_other(folder / ENTRY_POINTS)
    except OSError:
        return True
    return False


def _readable() -> metadata.EntryPoints:
    """Return all entry points of the packages whose files can be read."""
    entries: list[EntryPoint] = []
    for package in packages().values():
        if not _waits(package.dist):
            with contextlib.suppress(TypeError, ValueError):
                entries += package.dist.entry_points
    return metadata.EntryPoints(entries)
