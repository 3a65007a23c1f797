"""What installed packages say of themselves, read so that a faulty package harms only itself.

`importlib.metadata.entry_points` ends with the first file that it cannot read; here what is wrong with
one package is a problem of that package.
"""

import errno
import os
import re
import sys
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_core.plugins.entries import MOST_ENTRIES, RESERVED_NAMES, find_source, is_name
from kdst_core.regular import kept, refuse_other, regular

ENTRY_POINTS = "entry_points.txt"
METADATA = ("METADATA", "PKG-INFO", "requires.txt", "")
"""Files of a distribution that say what it is; the last is an old one that is a file itself."""

NUMBER = r"\d{1,9}(?:\.\d{1,9})*"
USUAL = (
    r"([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)"
    rf"((?:>=|<){NUMBER}(?:,(?:>=|<){NUMBER})*)(; extra == '\w+')?"
)
"""A requirement as build tools write it, with a lowest version, one that is too high, or both."""


@frozen
class Package:
    """A distribution, whose metadata are read only when something of them is asked for.

    folder: its name as that of its folder says it.
    """

    folder: str
    dist: Distribution

    @cached_property
    def _metadata(self) -> Any:
        """Its metadata, read once; an error of reading them is raised."""
        folder = getattr(self.dist, "_path", None)
        files = [folder / name for name in METADATA] if isinstance(folder, Path) else []
        return kept(("metadata", *files), files, lambda: _read(self.dist))

    def _said(self, field: str) -> str:
        """Return a field of the metadata, empty where it cannot be read."""
        try:
            return str(self._metadata[field] or "") if field in self._metadata else ""
        except Exception:
            return ""

    @cached_property
    def name(self) -> str:
        """Its name, that of the folder where its metadata give none."""
        name = self._said("Name") or self.folder or "unknown"
        return name if name.isprintable() else ascii(name)

    @property
    def version(self) -> str:
        """Its version, empty where its metadata give none."""
        return self._said("Version")

    @property
    def version_by_folder(self) -> str:
        """Its version as the name of its folder says it, which reads nothing; empty where it does not."""
        file = str(getattr(getattr(self.dist, "_path", None), "name", ""))
        return file.rpartition(".")[0].partition("-")[2].partition("-")[0]

    def entries(self) -> list[tuple[EntryPoint, str]]:
        """Return the entry points of kdst, each with what is wrong with its line, else an empty text.

        Raises OSError, with a reason in a user's words, where they cannot be read or are too many.
        """
        group, lines = "", []
        for line in map(str.strip, self._table().removeprefix("\ufeff").splitlines()):
            if line.startswith("["):
                group = line.strip("[]").strip()
            elif group.startswith("kdst.") and line and not line.startswith(("#", ";")):
                lines.append((group, line))
        if len(lines) > MOST_ENTRIES:
            many = f"has {len(lines):,} entry points of kdst, more than {MOST_ENTRIES}"
            raise OSError(errno.E2BIG, many, ENTRY_POINTS)
        return [self._entry(group, line) for group, line in lines]

    def _table(self) -> str:
        """Return the file of its entry points, empty where it has none; OSError where it cannot be read."""
        folder = getattr(self.dist, "_path", None)
        try:
            if isinstance(folder, Path):
                return regular(folder / ENTRY_POINTS).decode("utf-8", "replace")
            return self.dist.read_text(ENTRY_POINTS) or ""
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except UnicodeDecodeError as e:
            return str(e.object.decode("utf-8", "replace"))
        except OSError:
            raise
        except Exception as e:
            raise OSError(errno.EIO, f"cannot be read ({type(e).__name__})", ENTRY_POINTS) from e

    def readable(self) -> list[tuple[EntryPoint, str]]:
        """Return its entry points as `entries` does, none where they cannot be read."""
        try:
            return self.entries()
        except OSError:
            return []

    def _entry(self, group: str, line: str) -> tuple[EntryPoint, str]:
        """Return the entry point of one line and what is wrong with it."""
        name, equals, value = (part.strip() for part in line.partition("="))
        name = name if name.isprintable() else ascii(name)
        entry = EntryPoint(name, value, group)
        vars(entry).update(dist=self.dist)
        if not equals:
            return entry, f"its entry_points.txt has a line without '=': {name}"
        if not is_name(name):
            return entry, f"{name!r} is no name: letters, digits, '.', '_' and '-', no '-' at first"
        if name in RESERVED_NAMES:
            taken = "is a table of every configuration and cannot be a method's name"
            return entry, f"{name!r} {taken}"
        if not re.fullmatch(r"[\w.]+\s*(:\s*[\w.]+)?\s*(\[.*\])?", value):
            return entry, f"its entry_points.txt names no module: {line}"
        return entry, ""

    def requires(self) -> list[str]:
        """Return the lines of its requirements; an error of the metadata is raised."""
        return list(self._metadata.get_all("Requires-Dist") or self.dist.requires or ())

    def summary(self) -> str:
        """Return its one line, empty where there is none."""
        return self._said("Summary")


def packages() -> dict[str, Package]:
    """Return every installed package by its normal name; the first of two installations counts."""
    by_name: dict[str, Package] = {}
    for dist in distributions():
        package = package_of(dist)
        by_name.setdefault(normal(package.folder or package.name), package)
    return by_name


def package_of(dist: Distribution) -> Package:
    """Return a distribution as a package, whatever its metadata hold."""
    file = str(getattr(getattr(dist, "_path", None), "name", ""))
    return Package(file.rpartition(".")[0].partition("-")[0].replace("_", "-"), dist)


def owner(entry: EntryPoint) -> str:
    """Return the package of an entry point, its module where that is not known."""
    return package_of(entry.dist).name if entry.dist else entry.value


def normal(name: str) -> str:
    """Return a package's name as names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _read(dist: Distribution) -> Any:
    """Return what a distribution says of itself; OSError where reading it would wait for a writer."""
    folder = getattr(dist, "_path", None)
    if isinstance(folder, Path):
        for name in METADATA:
            refuse_other(folder / name, folder=not name)
    return dist.metadata


def why(package: Package, error: OSError) -> str:
    """Return in a line why the entry points of a package are not read."""
    return f"{package.name}: its {ENTRY_POINTS} {error.strerror}, so that nothing of it is listed"


def entry_points(group: str, name: str | None = None) -> list[EntryPoint]:
    """Return the entry points of a group without those that are faulty."""
    return [
        entry
        for package in packages().values()
        for entry, fault in package.readable()
        if not fault and entry.group == group and name in (None, entry.name)
    ]


def misfits(package: Package, known: dict[str, Package], core: str) -> list[str]:
    """Return what is wrong with a package's requirements on the core and on other packages of kdst.

    core: version of this core.
    """
    try:
        lines = package.requires()
    except OSError as e:
        return [f"its {Path(e.filename or METADATA[0]).name} {e.strerror or 'cannot be read'}"]
    except Exception as e:
        return [f"its METADATA cannot be read ({type(e).__name__})"]
    found = []
    for line in lines:
        if "kdst" in line.lower() and not plainly_fits(line, known, core):
            found += _misfit(line, known, core)
    return found


def plainly_fits(line: str, known: Mapping[str, Package], core: str) -> bool:
    """Return whether a requirement in the usual form is met, without `packaging`, which imports slowly.

    False says nothing: the line may have another form.
    """
    if not (read := re.fullmatch(USUAL, line, re.ASCII)):
        return False
    name, bounds, extra = read.groups()
    name = normal(name)
    have = core if name == "kdst-core" else known[name].version if name in known else None
    if extra or have is None:
        return True
    known_number = re.fullmatch(NUMBER, have, re.ASCII) is not None
    return known_number and all(_within(have, bound) for bound in bounds.split(","))


def _within(version: str, bound: str) -> bool:
    """Return whether a version is at least that of `>=0.1`, or below that of `<0.2`."""
    have, limit = _release(version), _release(bound.lstrip("<>="))
    return have < limit if bound[1] != "=" else have >= limit


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version as they are compared: zeros at its end say nothing."""
    return tuple(map(int, re.sub(r"(\.0+)+$", "", version).split(".")))


def _misfit(line: str, known: dict[str, Package], core: str) -> list[str]:
    """Return what is wrong with one requirement on a package of kdst."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.version import InvalidVersion

    try:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            return []
        name = normal(wanted.name)
        have = core if name == "kdst-core" else known[name].version if name in known else None
        if have is None or wanted.specifier.contains(have, prereleases=True):
            return []
    except (InvalidRequirement, InvalidVersion):
        return [f"its METADATA requires {line!r}, which is no requirement that pip understands"]
    except Exception as e:
        return [f"its METADATA requires {line!r}, which cannot be read ({type(e).__name__})"]
    return [f"needs {name} {wanted.specifier}, this is {have}"]


def module_problem(entry: EntryPoint) -> str:
    """Say when the module of an entry point does not exist; its parents are not imported."""
    module = entry.value.partition("[")[0].partition(":")[0].strip()
    path = [folder or os.curdir for folder in sys.path]
    beside = [*path, *sys.meta_path]
    origin = kept(module, path, lambda: getattr(find_source(module), "origin", None), beside)
    there = (origin and os.path.isfile(origin)) or find_source(module)
    return "" if there else f"module {module} was not found"
