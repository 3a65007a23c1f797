"""Carry out a command with packages that clash with what is here."""

import importlib
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import click

from kdst_core.errors import KdstError
from kdst_core.plugins.catalogue import packages_by_name
from kdst_core.plugins.elsewhere import PLACES, Place
from kdst_core.plugins.installed import package_of
from kdst_core.plugins.registry import load_command
from kdst_environments import installing, overlay

PLANNED_HERE = ("compare", "sweep")
"""Commands that are carried out here, and only the methods of the packages elsewhere."""


@click.command(
    short_help="Carry out a command with packages that clash with what is installed.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...]) -> None:
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
    packages = tuple(dict.fromkeys(packages))
    if len(packages) > 1 and rest[0] not in PLANNED_HERE:
        raise KdstError(
            f"kdst {rest[0]} takes one --with; kdst compare and kdst sweep take several"
        )
    made = [_environment(package) for package in packages]
    if rest[0] in PLANNED_HERE:
        _look_there(made)
        planned = load_command(rest[0])
        code = planned.main(rest[1:], prog_name=f"kdst {rest[0]}", standalone_mode=False)
        ctx.exit(code if isinstance(code, int) else 0)
    flags = ["--debug"] if ctx.meta.get("kdst.debug") else []
    sys.stdout.flush()
    sys.exit(passed_on([made[0][1].python, "-P", "-m", "kdst_core", *flags, *rest]))


def _environment(package: str) -> tuple[Path, Place]:
    """Return the environment of a package; a published name is never that of a folder beside it."""
    path, catalogue = Path(package), packages_by_name()
    if package not in {*catalogue, *catalogue.values()} and path.exists():
        requirement = installing.local(path)
    else:
        (requirement,) = installing.packages_of([package], catalogue)
    return overlay.environment(requirement)


def _look_there(made: list[tuple[Path, Place]]) -> None:
    """Let methods of environments be found from here, and have them carried out there.

    A package that several environments hold is that of the first, whose files are found first.
    """
    for folder, place in made:
        found = overlay.packages_in(folder)
        for package in map(package_of, distributions(path=found)):
            if package.readable():
                PLACES.setdefault(package.name, place)
        sys.path += [p for p in found if p not in sys.path]
    importlib.invalidate_caches()


def passed_on(words: list[str]) -> int:
    """Carry out a command in this process's place where the system can, else beside it."""
    if hasattr(os, "execv") and os.name == "posix":
        os.execv(words[0], words)
    return subprocess.run(words, check=False).returncode
