"""An environment with the packages of a finished run, made of the lock that lies in its directory.

The lock may have been sent by somebody, so its names are data: only packages of the catalogue, and those
that installed packages of the catalogue depend on, are ever installed; others are named and left out.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import Distribution
from pathlib import Path

from attrs import frozen
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kdst_core.errors import KdstError
from kdst_core.plugins.installed import package_of
from kdst_core.plugins.provenance import NAME, VERSION, plain
from kdst_core.regular import regular
from kdst_core.runs.rundir import LOCKED

LONGEST = 1 << 20
"""Bytes of a lock; those that kdst writes have a few thousand."""
MOST = 5000
"""Packages of a lock."""
SHOWN = 5
"""The most packages that a line names."""


def locked(directory: Path) -> dict[str, str]:
    """Return what was installed when a run began, normal name to version.

    KdstError where the run has no lock, or the file is none.
    """
    path = directory / LOCKED
    if path.is_symlink():
        raise KdstError(f"{path} is a link; a run holds its own files only")
    if not path.exists():
        raise KdstError(
            f"{directory} has no {LOCKED}: an earlier kdst made it, which kept none.\n"
            "Without --rebuild it is repeated with what is installed here"
        )
    try:
        lines = regular(path, LONGEST).decode("ascii").splitlines()
        found = dict(_pinned(line) for line in lines if line and not line.startswith("#"))
    except (OSError, ValueError) as e:
        raise KdstError(f"{path} is no list of name==version: {_why(e)}") from e
    if len(found) > MOST:
        raise KdstError(f"{path} names {len(found):,} packages, more than {MOST:,}")
    return found


def _pinned(line: str) -> tuple[str, str]:
    """Return normal name and version of a line; ValueError at another form."""
    name, equals, version = line.strip().partition("==")
    if not (equals and plain(name, NAME) and plain(version, VERSION)):
        raise ValueError(f"{line[:60]!r}")
    try:
        return canonicalize_name(name), str(Version(version))
    except InvalidVersion:
        raise ValueError(f"{line[:60]!r}") from None


def _why(error: OSError | ValueError) -> str:
    """Return what is wrong with a lock in a few words."""
    if isinstance(error, UnicodeDecodeError):
        return "it is no ASCII text"
    return str(error.strerror) if isinstance(error, OSError) else str(error)


@frozen
class Plan:
    """What an environment like that of a run takes.

    install: packages with another version than here, or that are not here, name to version. refused:
    those among them that no published package asks for. here: versions of all that is installed.
    """

    install: Mapping[str, str]
    refused: Mapping[str, str]
    here: Mapping[str, str]

    @property
    def requirements(self) -> list[str]:
        """What an installer is asked for: each package in its one version."""
        return [f"{name}=={version}" for name, version in self.install.items()]

    def lines(self) -> Iterator[str]:
        """Yield what is said before anybody is asked."""
        if self.install:
            told = (f"{n} {v} ({_now(self.here, n)})" for n, v in self.install.items())
            yield "Would install, into an environment of its own: " + ", ".join(told)
        if self.refused:
            names = [f"{n} {v}" for n, v in self.refused.items()]
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            yield (
                "Not installed, since no published package needs them: "
                f"{', '.join(names[:SHOWN])}{more}"
            )


def _now(here: Mapping[str, str], name: str) -> str:
    """Return which version of a package is here, in words."""
    return f"{here[name]} here" if name in here else "not here"


def plan(
    lock: Mapping[str, str],
    used: Iterable[str],
    installed: Iterable[Distribution],
    catalogue: Iterable[str],
) -> Plan:
    """Return what an environment like that of a lock takes, over the running one.

    used: the packages that carry the run out. catalogue: the published packages. KdstError where one of
    those that are used would have to be installed and is not published.
    """
    present: dict[str, Distribution] = {}
    for dist in installed:  # the first of two installations counts
        present.setdefault(canonicalize_name(package_of(dist).name), dist)
    here = {name: package_of(d).version for name, d in present.items()}
    differing = {n: v for n, v in sorted(lock.items()) if not _is(here.get(n), v)}
    allowed = reachable(catalogue, present)
    refused = {n: v for n, v in differing.items() if n not in allowed}
    for name in map(canonicalize_name, used):
        if name in refused:
            raise KdstError(
                f"{name} {refused[name]} carried this run out and is no published package.\n"
                "Install it yourself, then repeat the run without --rebuild"
            )
    return Plan({n: v for n, v in differing.items() if n in allowed}, refused, here)


def _is(here: str | None, version: str) -> bool:
    """Return whether a version that is installed is the one of a lock."""
    with suppress(InvalidVersion):
        return here is not None and Version(here) == Version(version)
    return False


def reachable(catalogue: Iterable[str], present: Mapping[str, Distribution]) -> set[str]:
    """Return the published packages and all that those which are installed depend on, near and far.

    Extras count for published packages only.
    """
    published = {"kdst", "kdst-core", *map(canonicalize_name, catalogue)}
    found, open_ = set(published), [n for n in published if n in present]
    while open_:
        name = open_.pop()
        for other in _needed(present[name], extras=name in published):
            if other not in found:
                found.add(other)
                open_ += [other] if other in present else []
    return found


def _needed(dist: Distribution, *, extras: bool) -> Iterator[str]:
    """Yield the normal names of what an installed package requires; faults of its metadata are its own."""
    lines: list[str] = []
    with suppress(Exception):
        lines = package_of(dist).requires()
    for line in lines:
        with suppress(Exception):
            needed = Requirement(line)
            if not extras and re.search(r"\bextra\b", str(needed.marker or "")):
                continue
            yield canonicalize_name(needed.name)
