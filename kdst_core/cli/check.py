"""`kdst check METHOD`: the conformance kit."""

import sys

import click

from kdst_core.cli.run import complete_method


@click.command(short_help="Hold a method to the conformance kit.")
@click.argument("method", shell_complete=complete_method)
def command(method: str) -> None:
    """Hold a method to the conformance kit; exit code 1 when a check fails."""
    from kdst_core.testing import checks, run_check

    failed = 0
    for check in checks(method):
        reason = run_check(check)
        click.echo(f"{'ok    ' if reason is None else 'FAILED'}  {check.name}")
        if reason is not None:
            failed += 1
            click.echo(f"        {reason}")
    if failed:
        click.echo(f"{failed} checks failed", err=True)
        sys.exit(1)
