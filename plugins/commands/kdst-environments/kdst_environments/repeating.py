"""A finished run once more: what differs in the environment, and which metrics are not the same."""

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_core.errors import KdstError
from kdst_core.plugins.provenance import NAME, VERSION, Installed, from_json, installed, plain
from kdst_core.regular import regular
from kdst_core.reports.report import LONGEST_RECORD
from kdst_core.runs.rundir import ENVIRONMENT

TIMED = re.compile(r"seconds|per_second|cost_x_|memory|cpu_")
"""Metrics of time and memory, which no two runs have in common."""
LIVE = re.compile(r"<[\w.]+( [0-9a-f]{12})?>")
"""A live object as a configuration names it."""
MOST_PACKAGES = 1000
"""Packages in a record of an environment; kdst writes a dozen."""


@frozen
class Difference:
    """A metric that is not the same in two runs."""

    name: str
    before: float | None
    now: float | None

    def __str__(self) -> str:
        return f"{self.name}: {_shown(self.before)} before, {_shown(self.now)} now"


def _shown(value: float | None) -> str:
    """Return a metric as a person reads it, with all its digits."""
    return "none" if value is None else repr(value)


def refuse_live(result: Mapping[str, Any]) -> None:
    """Raise KdstError for a run that was given objects from Python: they are not on disk."""
    for name, value in result["input"].items():
        if isinstance(value, str) and LIVE.fullmatch(value):
            raise KdstError(
                f"this run was given --{name.replace('_', '-')} as an object from Python ({value}).\n"
                "It cannot be repeated from its directory; call kdst_core.run with the object again"
            )


@frozen
class Record:
    """The environment of a run: versions by package, Python's among them, and what was installed."""

    versions: Mapping[str, str]
    installed: Mapping[str, Installed]


def recorded(directory: Path) -> Record:
    """Return the environment that a run recorded; KdstError where its `env.json` is no such record."""
    path = directory / ENVIRONMENT
    if not path.exists():
        return Record({}, {})
    if path.is_symlink():
        raise KdstError(f"{path} is a link; a run holds its own files only")
    try:
        found = json.loads(regular(path, LONGEST_RECORD))
        versions = _versions({"python": found["python"], **found["packages"]})
        return Record(versions, from_json(found.get("installed")))
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as e:
        raise KdstError(f"{path} is no record of an environment ({type(e).__name__})") from e


def _versions(found: Mapping[str, Any]) -> dict[str, str]:
    """Return versions by package, empty for one that was not installed; ValueError at another form."""
    versions = {name: "" if was is None else was for name, was in found.items()}
    if len(versions) > MOST_PACKAGES:
        raise ValueError("too many packages")
    if not all(plain(k, NAME) and plain(v, VERSION) for k, v in versions.items()):
        raise ValueError("no version")
    return versions


def changes(record: Record, python: str, used: Collection[str]) -> list[str]:
    """Return a line for each version that is another now, and for packages of other files.

    used: the packages that carry the run out; of others the files do not matter.
    """
    lines = []
    for name, was in record.versions.items():
        now = python if name == "python" else _version(name)
        if now != was:
            lines.append(f"{name} {was or 'not installed'} then, {now or 'not installed'} now")
    here = installed()
    for name in sorted(record.installed.keys() & here.keys() & set(used)):
        then, now_ = record.installed[name], here[name]
        if then.version == now_.version and then.sha256 != now_.sha256:
            lines.append(f"{name} {then.version} has other files than then")
    return lines


def _version(name: str) -> str:
    """Return an installed version, empty where there is none."""
    try:
        return version(name) or ""
    except (PackageNotFoundError, ValueError):
        return ""


def compared(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield the metrics that are not the same to the last digit, those of time and memory left out."""
    for name in sorted({*before, *now}):
        if TIMED.search(name):
            continue
        old, new = before.get(name), now.get(name)
        if not _same(old, new) or (name in before) != (name in now):
            yield Difference(name, old, new)


def _same(a: float | None, b: float | None) -> bool:
    """Return whether two metrics are equal; what is none in both is."""
    if a is None or b is None:
        return a is b
    return a == b or (math.isnan(a) and math.isnan(b))
