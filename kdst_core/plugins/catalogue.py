"""What is published outside the core: names of methods, commands, executors and observers."""

import os
from collections.abc import Mapping
from functools import cache
from typing import Literal

from kdst_core.regular import regular

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

    place = os.path.join(os.path.dirname(__file__), "catalogue.toml")
    return tomllib.loads(regular(place).decode("utf-8"))
