"""Hold a method to the conformance kit."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import click

from kdst_core.commands import complete_method


@contextmanager
def scratch() -> Iterator[None]:
    """Work in an empty folder, so that a faulty method finds nothing of the caller's to lose."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        try:
            yield
        finally:
            os.chdir(before)


@click.command(short_help="Hold a method to the conformance kit.")
@click.argument("method", shell_complete=complete_method)
def command(method: str) -> None:
    """Hold a method to the conformance kit; exit code 1 when a check fails.

    A check that the method expects to fail, with a reason, must fail.
    """
    with scratch():
        _check(method)


def _check(method: str) -> None:
    """Carry out the checks, and print a line or two for each."""
    from kdst_authors.testing import expected_failures, verdicts
    from kdst_core.plugins import registry
    from kdst_show import inspection

    name = registry.find(method).qualified
    dead = [r for r in inspection.inspect("method", name) if " ended the process " in r]
    if dead:
        click.echo(f"FAILED  the method can be imported\n        {dead[0]}")
        click.echo("1 check failed", err=True)
        sys.exit(1)

    excuses, failed = expected_failures(method), 0
    for found in verdicts(method, excuses):
        if found.cause:
            click.echo(f"-       {found.check}\n        not tried, since it follows: {found.cause}")
            continue
        failing = found.problem is not None
        word = "FAILED" if failing else "ok" if found.excuse is None else "excuse"
        click.echo(f"{word:<6}  {found.check}")
        if found.problem or found.excuse:
            click.echo(f"        {found.problem or found.excuse}")
        failed += failing
    for unknown in excuses:
        click.echo(f"FAILED  {unknown}\n        expected to fail, but there is no such check")
    failed += len(excuses)
    if failed:
        click.echo(f"{failed} {'check' if failed == 1 else 'checks'} failed", err=True)
        sys.exit(1)
