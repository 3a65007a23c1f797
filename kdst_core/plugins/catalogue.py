"""What is published outside the core: names of methods, commands, executors and observers."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

Kind = Literal["methods", "commands", "executors", "observers"]


def published(kind: Kind) -> Mapping[str, str]:
    """Return the published names of a kind and the package of each."""
    return _read()[kind]


def packages_by_name() -> Mapping[str, str]:
    """Return every published name, whatever its kind, and the package of each; methods come first."""
    tables = reversed(list(_read().values()))
    return {name: package for table in tables for name, package in table.items()}


@cache
def _read() -> Mapping[str, Mapping[str, str]]:
    """Return the catalogue, read once and only where something is missing or is listed."""
    import tomllib

    return tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))
