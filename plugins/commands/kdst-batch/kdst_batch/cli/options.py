"""Options and words that comparing and sweeping have in common."""

import click

from kdst_batch.executors import BUILT_IN

HOW_TO_GO_ON = "Continue by the same command: finished runs are reused, unfinished ones continued."
"""Said where a comparison or a sweep is ended by Ctrl-C or SIGTERM."""


def executor_options() -> list[click.Option]:
    """Return the options that say where work is carried out."""
    return [
        click.Option(
            ["--executor"],
            default=BUILT_IN,
            help=f"Where: {BUILT_IN} on this machine, or ray (kdst-ray).  [default: {BUILT_IN}]",
        ),
        click.Option(
            ["--address"], default="", help="Of a cluster that runs.  [default: a local one]"
        ),
    ]
