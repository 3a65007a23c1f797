"""Install published methods, or packages of your own."""

import shlex
from pathlib import Path

import click

from kdst_core.errors import KdstError
from kdst_core.plugins.catalogue import packages_by_name, published
from kdst_environments import installing


@click.command(short_help="Install published methods, or packages of your own.")
@click.argument("names", nargs=-1)
@click.option(
    "--from",
    "places",
    multiple=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Install a package on disk: a folder with a pyproject.toml, or a wheel. May be repeated.",
)
@click.option(
    "--wheels",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Take packages from this folder and ask no index.",
)
@click.option("--yes", is_flag=True, help="Do not ask before installing.")
def command(
    names: tuple[str, ...], places: tuple[Path, ...], wheels: Path | None, yes: bool
) -> None:
    """Install the packages of methods, commands and executors that kdst's authors publish.

    NAMES are what `kdst plugins --available` lists, or names of packages. The command is shown first.
    Nothing changes where it would break a package that is here.
    """
    if not names and not places:
        raise KdstError("nothing to install; what there is: kdst plugins --available")
    named = installing.packages_of(names, packages_by_name())
    packages = [*named, *map(installing.local, places)]
    tool = installing.installer()
    words = tool.command(packages, wheels.resolve() if wheels else None)
    click.echo(shlex.join(words))
    plan = installing.check(tool, words, installing.here())
    if not plan:
        click.echo("All of it is installed already.")
        return
    click.echo("Would install: " + ", ".join(f"{n} {v}" for n, v in plan.items()))
    if not yes:
        installing.ask()
    installing.carry_out(words)
    methods = [n for n in names if n in published("methods")]
    click.echo(f"Try it: kdst run {methods[0]}" if methods else "Installed: kdst plugins")
