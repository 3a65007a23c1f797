"""`kdst with PACKAGE… -- COMMAND`: a command with packages that clash with what is installed."""

import importlib
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import click

from kdst_core.errors import KdstError
from kdst_core.plugins import elsewhere
from kdst_core.plugins.catalogue import packages_by_name
from kdst_core.plugins.registry import load_command
from kdst_environments import installing, overlay

PLANNED_HERE = ("compare", "sweep")
"""Commands that are carried out here, and only the methods of the packages elsewhere."""


@click.command(
    short_help="Carry out a command with packages that clash with what is installed.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(words: tuple[str, ...]) -> None:
    """Carry out a command of kdst with packages in environments of their own.

    kdst run METHOD --with PACKAGE means the same as kdst with PACKAGE -- run METHOD. PACKAGE is a
    published name, or a folder or wheel on disk. Each gets an environment over the running one, which is
    kept; the running one stays as it is. kdst compare takes methods that need different versions of a
    library: each runs by the interpreter of its own environment.
    """
    cut = words.index("--") if "--" in words else len(words)
    packages, rest = words[:cut], list(words[cut + 1 :])
    if not packages or not rest:
        raise KdstError("which packages and which command? kdst with PACKAGE… -- run METHOD")
    made = [_environment(package) for package in packages]
    if rest[0] in PLANNED_HERE:
        _look_there(made)
        load_command(rest[0]).main(rest[1:], prog_name=f"kdst {rest[0]}", standalone_mode=False)
        return
    if len(made) > 1:
        raise KdstError(
            f"kdst {rest[0]} takes one --with; kdst compare and kdst sweep take several"
        )
    place = made[0][1]
    sys.stdout.flush()
    sys.exit(_passed_on([place.python, "-m", "kdst_core", *rest]))


def _environment(package: str) -> tuple[Path, elsewhere.Place]:
    """Return the environment of a package; what it is taken from is said where it is made."""
    path = Path(package)
    if path.exists():
        requirement = installing.local(path)
    else:
        (requirement,) = installing.packages_of([package], packages_by_name())
    return overlay.environment(requirement)


def _look_there(made: list[tuple[Path, elsewhere.Place]]) -> None:
    """Let methods of environments be found from here, and have them carried out there."""
    for folder, place in made:
        found = overlay.packages_in(folder)
        for dist in distributions(path=found):
            if any(e.group.startswith("kdst.") for e in dist.entry_points):
                elsewhere.put(dist.metadata["Name"], place)
        sys.path += [p for p in found if p not in sys.path]
    importlib.invalidate_caches()


def _passed_on(words: list[str]) -> int:
    """Carry out a command in this process's place where the system can, else beside it."""
    if hasattr(os, "execv") and os.name == "posix":
        os.execv(words[0], words)
    return subprocess.run(words, check=False).returncode
