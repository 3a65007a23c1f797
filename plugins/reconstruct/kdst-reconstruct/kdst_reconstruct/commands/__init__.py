"""The commands that this package adds to `kdst`; importing one loads click and nothing heavy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Any], Any]

FILE = click.Path(path_type=Path)


def scene_argument() -> Decorator:
    """Return the argument that every command on a scene takes."""
    return click.argument("scene", type=FILE, metavar="RUN_OR_PLY")


def method_option() -> Decorator:
    """Return the option that says which method reads a bare .ply."""
    return click.option(
        "--method",
        default="3dgs",
        show_default=True,
        help="Method that opens a .ply; a run knows its own.",
    )


def capture_options(command: Any) -> Any:
    """Add the options that name the photographs of a scene."""
    for option in (
        click.option(
            "--holdout",
            help="Held-out views, as of kdst run.  [default: the run's, else auto]",
        ),
        click.option("--data", help="The capture, as of kdst run.  [default: the run's]"),
    ):
        command = option(command)
    return command


def up_option() -> Decorator:
    """Return the option for the upward direction of a scene without cameras."""
    return click.option(
        "--up",
        type=click.Choice(["x", "-x", "y", "-y", "z", "-z"]),
        help="Axis that points up.  [default: that of the cameras; without any, -y]",
    )
