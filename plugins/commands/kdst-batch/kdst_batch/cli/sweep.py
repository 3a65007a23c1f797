"""Carry out many runs, planned in a file: grids, lists, named cases."""

import math
import sys
from pathlib import Path
from typing import Any

import click

from kdst_batch.cli.options import HOW_TO_GO_ON, executor_options

PATH = click.Path(path_type=Path)


class Share(click.FloatRange):
    """CPUs or GPUs of a case: from 0 on, and a number, which `nan` passes for in a plain range."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; a usage error for anything else."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number of CPUs or GPUs.", param, ctx)
        return number


SHARE = Share(min=0)


def _with_executor(command: click.Command) -> click.Command:
    """Add the options that say where work is carried out."""
    command.params += executor_options()
    return command


@_with_executor
@click.command(short_help="Carry out many runs, planned in a file.")
@click.argument("file", type=PATH)
@click.option("--status", is_flag=True, help="Only say how far the sweep is.")
@click.option("--collect", is_flag=True, help="Only write tables and report of what is done.")
@click.option("--out", type=PATH, help="Where tables and report go.  [default: runs/sweep-FILE]")
@click.option("--runs", type=PATH, default=Path("runs"), help="Where the runs are kept.")
@click.option("--jobs", type=click.IntRange(1), default=1, help="Cases side by side.  [default: 1]")
@click.option(
    "--retries",
    type=click.IntRange(0),
    default=2,
    help="How often a case that fails is tried again.  [default: 2]",
)
@click.option("--cpus-each", type=SHARE, default=1.0, help="CPUs of a case on a cluster.")
@click.option(
    "--gpus-each",
    type=SHARE,
    default=0.0,
    help="GPUs of a case on a cluster; 0.25 lets 4 share one.",
)
@click.option("--quiet", "-q", is_flag=True, help="Print only the directory.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
def command(file: Path, **params: Any) -> None:
    """Carry out the runs that a TOML file plans: methods, seeds, grids, lists, named cases.

    Finished runs are reused, unfinished ones continued: repeat the command after an interruption.
    """
    from kdst_batch import sweep as package
    from kdst_batch.executors import Resources

    where = (params["out"], params["runs"])
    if params["status"]:
        _status(package.plan(file, *where))
        return
    if params["collect"]:
        made = package.gather(package.plan(file, *where), file, *where)
    else:
        try:
            made = package.sweep(
                file,
                out=params["out"],
                runs=params["runs"],
                jobs=params["jobs"],
                executor=params["executor"],
                address=params["address"],
                retries=params["retries"],
                resources=Resources(params["cpus_each"], params["gpus_each"]),
                show="quiet" if params["quiet"] else "auto",
            )
        except KeyboardInterrupt:
            click.echo(HOW_TO_GO_ON, err=True)
            raise
    _tell(made, quiet=params["quiet"])


def _status(state: Any) -> None:
    """Print how far a sweep is."""
    from kdst_batch.display import clock, line

    click.echo(line(state.counts()))
    for label, seconds in state.running().items():
        click.echo(f"running {clock(seconds)}: {label}")
    _failures(state.failures())


def _failures(failures: Any) -> None:
    """Print the last lines of every case that failed."""
    for label, failure in failures.items():
        click.echo(f"failed after {failure['attempts']}: {label}")
        for text in failure["error"].splitlines():
            click.echo(f"    {text}")


def _tell(found: Any, *, quiet: bool) -> None:
    """Print what came of a sweep; exit code 1 when a case failed."""
    from kdst_batch.display import line

    if quiet:
        click.echo(found.directory)
    else:
        click.echo(line(found.counts))
        _failures(found.failures)
        for note in found.notes:
            click.echo(note, err=True)
        if found.report is not None:
            click.echo(f"Table: {', '.join(map(str, found.tables))}")
            click.echo(f"Report: {found.report}")
    if found.failures:
        sys.exit(1)
