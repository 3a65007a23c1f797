"""Open a run's report, or the page of all runs, in the browser."""

from pathlib import Path

import click

from kdst_core.errors import KdstError


@click.command(short_help="Open a run's report in the browser.")
@click.argument("run", type=click.Path(path_type=Path), default=Path("runs"))
def command(run: Path) -> None:
    """Open the report of RUN, or the page of all runs of a folder (default: runs)."""
    from kdst_core.runs.rundir import CONFIG, REPORT, RESULT
    from kdst_show.listing import write_index

    if (run / REPORT).is_file():
        page = run / REPORT
    elif (run / RESULT).exists():
        raise KdstError(f"{run} has no report; make it: kdst report {run}")
    elif (run / CONFIG).exists():
        raise KdstError(f"{run} is unfinished; continue it with --out {run} --resume")
    else:
        page = write_index(run)
    click.echo(page)
    if click.launch(str(page)):
        raise KdstError(f"no browser could be opened; open {page} yourself")
