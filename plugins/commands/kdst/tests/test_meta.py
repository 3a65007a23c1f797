"""The package that installs the others: its extras name every package of the repository."""

import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

PLUGINS = Path(__file__).parents[3]


def named(extra: str = "") -> set[str]:
    """Return what is installed with an extra, or without one."""
    lines = map(Requirement, requires("kdst") or ())
    here = {r.name for r in lines if r.marker is None or r.marker.evaluate({"extra": extra})}
    return here if not extra else here - named()


def folders(room: str) -> set[str]:
    """Return the packages that lie in a folder of the repository."""
    files = PLUGINS.glob(f"{room}/*/pyproject.toml")
    return {tomllib.loads(f.read_text(encoding="utf-8"))["project"]["name"] for f in files}


def test_without_an_extra_the_core_and_its_commands_come() -> None:
    assert named() == {"kdst-core"} | folders("commands") - {"kdst"}


def test_an_extra_is_a_folder_of_methods() -> None:
    for room in ("adapt", "reconstruct", "edit", "tools", "invert"):
        assert named(room) == folders(room)
    for package in folders("scale"):
        assert named(package.removeprefix("kdst-")) == {package}


def test_the_last_extra_is_all_others() -> None:
    rooms = {p.name for p in PLUGINS.iterdir() if p.is_dir()} - {"commands"}
    assert named("all") == set().union(*map(folders, rooms))
