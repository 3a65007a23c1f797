"""Carry a finished run out once more and compare the metrics."""

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdst_core.errors import KdstError

if TYPE_CHECKING:
    pass

SHOWN = 5
"""The most differences that are printed."""


@click.command(short_help="Carry a finished run out once more and compare the metrics.")
@click.argument("directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Directory of the new run, new or empty.  [default: runs/METHOD-TIME]",
)
@click.option("--quiet", "-q", is_flag=True, help="Print only the verdict.")
@click.option(
    "--rebuild",
    is_flag=True,
    help="First make an environment with the versions that the run recorded.",
)
@click.option(
    "--wheels",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="With --rebuild: take packages from this folder and ask no index.",
)
@click.option("--yes", is_flag=True, help="With --rebuild: do not ask before installing.")
@click.pass_context
def command(
    ctx: click.Context,
    directory: Path,
    out: Path | None,
    quiet: bool,
    rebuild: bool,
    wheels: Path | None,
    yes: bool,
) -> None:
    """Carry RUN out once more, by its configuration and seed, and compare the metrics.

    Versions that differ from those of the run are said. Exit code 0: all metrics are the same to the
    last digit. 1: some are not; the first ones are named. Times and memory are not compared. Relative
    paths in the run's options are taken from the current directory.

    --rebuild installs, over the running environment and beside it, the versions of RUN/requirements.lock
    that differ from those here. Only packages that kdst's authors publish, and what these depend on, are
    installed; what that would be is shown first.
    """
    from kdst_core.options import from_toml
    from kdst_core.plugins import registry
    from kdst_core.progress import Mode
    from kdst_core.runs import execute
    from kdst_core.runs.result import load_result
    from kdst_core.runs.rundir import CONFIG
    from kdst_core.runs.setup import setup_of
    from kdst_environments import repeating

    before = load_result(directory)
    repeating.refuse_live(before.data)
    if not (directory / CONFIG).is_file():
        raise KdstError(f"{directory} has no {CONFIG}, so it is not known how it was made")
    record = repeating.recorded(directory)
    if (wheels or yes) and not rebuild:
        raise KdstError("--wheels and --yes belong to --rebuild")
    if rebuild:
        bench = registry.bench_package(before.data["capability"])
        used = ("kdst-core", bench, before.data["plugin"])
        if python := _rebuilt(directory, used, wheels, yes):
            _elsewhere(ctx, python, directory, out, quiet)
    chosen = setup_of(f"{before.data['plugin']}/{before.data['method']}")
    used = ("kdst-core", chosen.bench.package, chosen.method.plugin.package)
    for line in repeating.changes(record, platform.python_version(), used):
        click.secho(f"Warning: {line}", fg="yellow", err=True)
    others = [p.name for p in registry.discover() if p.name != chosen.method.name]
    given = from_toml(directory / CONFIG, chosen.items, others)  # before any variable of today
    show: Mode = "quiet" if quiet else "auto"
    now = execute.execute(chosen, given, {}, out=out, resume=False, config=None, show=show)
    different = list(repeating.compared(before.metrics, now.metrics))
    for difference in different[:SHOWN]:
        click.echo(str(difference))
    if len(different) > SHOWN:
        click.echo(f"and {len(different) - SHOWN} more")
    click.echo(f"{now.directory}: {_verdict(len(different), len(before.metrics))}")
    ctx.exit(1 if different else 0)


def _rebuilt(directory: Path, used: tuple[str, ...], wheels: Path | None, yes: bool) -> str:
    """Return the interpreter of an environment like that of a run, '' where the running one is like it."""
    from kdst_core.plugins.catalogue import packages_by_name
    from kdst_environments import installing, overlay, rebuilding

    lock = rebuilding.locked(directory)
    published = packages_by_name().values()
    plan = rebuilding.plan(lock, used, installing.here(), published)
    for line in plan.lines():
        click.echo(line, err=True)
    if not plan.install:
        click.echo("Nothing is to be installed.", err=True)
        return ""
    if not yes:
        installing.ask()
    _, place = overlay.of_pins(plan.requirements, wheels.resolve() if wheels else None)
    return place.python


def _elsewhere(
    ctx: click.Context, python: str, directory: Path, out: Path | None, quiet: bool
) -> None:
    """Repeat a run by the interpreter of another environment, in this process's place."""
    from kdst_environments.with_packages import passed_on

    flags = ["--debug"] if ctx.meta.get("kdst.debug") else []
    words = ["repeat", str(directory), *(["--out", str(out)] if out else [])]
    sys.stdout.flush()
    sys.exit(passed_on([python, "-P", "-m", "kdst_core", *flags, *words, *(["-q"] * quiet)]))


def _verdict(different: int, total: int) -> str:
    """Return the last line."""
    if different:
        return f"{different} of {total} metrics are not the same"
    return "every metric is the same"
