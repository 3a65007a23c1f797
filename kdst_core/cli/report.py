"""`kdst report RUN`: the report of a finished run, made again."""

from pathlib import Path

import click


@click.command(short_help="Make a run's report again.")
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Make report.html again from result.json and the artifacts of a run."""
    from kdst_core import api, registry, report

    result = api.load_result(run)
    bench = registry.load_bench(result.data["capability"])
    click.echo(f"Report: {report.write(result.data, run, bench)}")
