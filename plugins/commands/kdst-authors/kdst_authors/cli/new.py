"""Begin a method: a complete package that runs and passes its tests."""

from pathlib import Path

import click

from kdst_authors import scaffold
from kdst_core.plugins.capabilities import capabilities


@click.command(short_help="Begin a method: a complete package that runs and passes its tests.")
@click.argument("capability", type=click.Choice(capabilities()))
@click.argument("name")
@click.option(
    "--path",
    type=click.Path(path_type=Path),
    default=Path("."),
    help="Folder in which kdst-NAME is created.  [default: the current one]",
)
@click.option(
    "--licence",
    type=click.Choice(scaffold.LICENCES),
    default=scaffold.LICENCES[0],
    help=f"Licence of the package.  [default: {scaffold.LICENCES[0]}]",
)
@click.option("--author", default="", help="Who holds the rights.  [default: none]")
@click.option(
    "--summary", default="", help="What the method does, in a line.  [default: the example's]"
)
def command(
    capability: str, name: str, path: Path, licence: str, author: str, summary: str
) -> None:
    """Begin a method: a complete package kdst-NAME that runs and passes its own tests.

    It holds a small working method of the capability; put yours in its place.
    """
    plan = scaffold.plan(capability, name, path, licence, author, summary)
    files = scaffold.create(plan)
    click.echo(f"Created {plan.folder}:")
    for file in files:
        click.echo(f"  {file}")
    click.echo(f"Install it: pip install -e {plan.folder}")
    click.echo(f"Then: kdst run {name}, kdst check {name}, pytest {plan.folder}")
