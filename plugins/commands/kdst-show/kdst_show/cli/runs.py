"""List the runs of a folder: state, method, main figures, age."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click

from kdst_show.listing import STATES, Entry


@click.command(short_help="List the runs of a folder.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"))
@click.option("--method", metavar="NAME", help="Only runs of this method.")
@click.option("--state", type=click.Choice(STATES), help="Only runs in this state.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, all metrics included.")
@click.option("--html", is_flag=True, help="Write FOLDER/index.html and print its path.")
def command(folder: Path, method: str | None, state: str | None, as_json: bool, html: bool) -> None:
    """List the runs in FOLDER (default: runs), the latest first.

    FOLDER/index.html shows the same; kdst run keeps that of runs/ up to date.
    """
    from kdst_show.listing import entries, write_index

    if html:
        click.echo(write_index(folder))
        return
    listed = [
        entry
        for entry in entries(folder)
        if method in (None, entry.method) and state in (None, entry.state)
    ]
    if as_json:
        click.echo(json.dumps([_record(entry) for entry in listed], indent=2))
    elif not listed:
        click.echo(f"No such runs in {folder}.")
    else:
        _table(listed)


def _record(entry: Entry) -> dict[str, object]:
    """Return a run as JSON holds it."""
    return {
        "directory": str(entry.directory),
        "state": entry.state,
        "method": entry.method,
        "capability": entry.capability,
        "input": entry.given,
        "metrics": dict(entry.metrics),
        "seconds": entry.seconds,
        "written": entry.at,
        "reason": entry.said,
    }


def _table(found: Sequence[Entry]) -> None:
    """Print one line a run."""
    now = time.time()
    rows = [
        (
            entry.directory.name,
            entry.state,
            entry.method,
            entry.said or ", ".join(f"{label}: {value}" for label, value in entry.figures),
            entry.given,
            entry.age(now),
        )
        for entry in found
    ]
    widths = [max(len(row[k]) for row in rows) for k in range(5)]
    for row in rows:
        columns = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=False))
        click.echo(f"{columns}  {row[5]} ago")
