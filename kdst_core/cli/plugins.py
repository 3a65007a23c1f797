"""`kdst plugins`: what is installed, from metadata alone."""

import json
from typing import Any

import click

from kdst_core.plugins import registry


@click.command(short_help="List installed methods.")
@click.option("--available", is_flag=True, help="List published methods that are not installed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(available: bool, as_json: bool) -> None:
    """List installed methods, with the reasons that metadata shows why one cannot run."""
    if available:
        _available(as_json)
        return
    plugins, unread = registry.survey()
    for line in unread:
        click.secho(f"Warning: {line}", fg="yellow", err=True)
    rows: list[dict[str, Any]] = [
        {
            "name": p.name,
            "capability": p.capability,
            "package": p.package,
            "version": p.version,
            "summary": registry.summary(p),
            "problems": list(p.problems),
        }
        for p in plugins
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("No methods are installed. Install one: pip install kdst-tea")
        return
    _table(rows)


def _available(as_json: bool) -> None:
    """Print published methods that are not installed, with the command that installs each."""
    rows = [
        {"name": name, "package": package, "install": f"pip install {package}"}
        for name, package in registry.available().items()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("Every published method is installed.")
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        click.echo(f"{row['name'].ljust(width)}  {row['install']}")


def _table(rows: list[dict[str, Any]]) -> None:
    """Print one line a method, and one for each problem."""
    keys = ("name", "capability", "package")
    widths = {key: max(len(str(row[key])) for row in rows) for key in keys}
    for row in rows:
        columns = "  ".join(str(row[key]).ljust(widths[key]) for key in keys)
        click.echo(f"{columns}  {row['version']}  {row['summary']}".rstrip())
        for problem in row["problems"]:
            click.echo(f"  ! {problem}")
