"""Make a run's report again from its result."""

from pathlib import Path

import click

from kdst_core.errors import KdstError


@click.command(short_help="Make a run's report again.")
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Make report.html again from result.json and the artifacts of a run."""
    from kdst_core.plugins import registry
    from kdst_core.reports import report
    from kdst_core.runs.received import misfit
    from kdst_core.runs.result import load_result

    result = load_result(run)
    bench = registry.load_bench(result.data["capability"])
    try:
        page = report.write(result.data, run, bench)
    except (KdstError, OSError):
        raise
    except Exception as e:
        raise misfit(str(run), e) from e
    click.echo(f"Report: {page}")
