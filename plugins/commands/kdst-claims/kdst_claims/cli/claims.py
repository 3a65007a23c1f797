"""Try what papers say of their methods: runs, and a verdict for each claim."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from kdst_batch.cli.leading import LeadingWords
from kdst_batch.cli.options import HOW_TO_GO_ON, executor_options
from kdst_core.commands import MethodCommand, click_option, given_flags
from kdst_core.options import Given, Item

USAGE = "[METHOD[.CLAIM]]... [OPTIONS]"
HELP = (
    "Try what papers say of their methods: runs, and a verdict for each claim.\n\nMETHOD is the name of"
    " a method, for all its claims, or METHOD.CLAIM for one; without any, every claim of every method is"
    " tried. A claim holds where the interval of its effect lies above the smallest effect that counts,"
    " fails where it lies below, and is undecided where it includes it. Runs that exist are reused,"
    " unfinished ones continued: repeat the command after an interruption. The exit code is 1 when a"
    " claim fails, or holds though it is known to fail."
)


def claims_command(words: Sequence[str]) -> MethodCommand:
    """Return the command, with the options of the inputs of the methods that are named."""
    groups: dict[str, list[click.Option]] = {}
    items: dict[str, Item] = {}
    if words:
        from kdst_claims.plan import chosen

        for setup, _ in chosen(words):
            for item in setup.items:
                if item.section is setup.sections[0] and item.flag not in items and not item.where:
                    items[item.flag] = item
                    groups.setdefault(item.section.title, []).append(click_option(item))
    groups["Claims"] = _own_options()

    @click.pass_context
    def callback(ctx: click.Context, /, **_params: Any) -> None:
        _try(words, given_flags(ctx, list(items.values())), ctx.params)

    made = MethodCommand(
        "claims",
        callback=callback,
        params=[option for options in groups.values() for option in options],
        help=HELP,
        options_metavar=USAGE,
    )
    made.groups = groups
    return made


command = LeadingWords(
    "claims",
    usage=USAGE,
    short_help="Try what papers say of their methods.",
    made=claims_command,
)


def _own_options() -> list[click.Option]:
    """Return the options of the command itself."""
    path = click.Path(path_type=Path)
    return [
        click.Option(
            ["--quick/--full"],
            default=True,
            help="Settings of seconds to a minute each, or larger ones.  [default: quick]",
        ),
        click.Option(["--json"], is_flag=True, help="Print the verdicts as JSON."),
        click.Option(
            ["--recorded"],
            type=path,
            help="claims.json whose verdicts are expected: no other passes.",
        ),
        click.Option(
            ["--jobs"], type=click.IntRange(1), default=1, help="Runs side by side.  [default: 1]"
        ),
        *executor_options(),
        click.Option(["--out"], type=path, help="Where page and verdicts go.  [default: new]"),
        click.Option(["--runs"], type=path, default=Path("runs"), help="Where the runs are kept."),
        click.Option(["--quiet", "-q"], is_flag=True, help="Print only the directory."),
        click.Option(["--debug"], is_flag=True, expose_value=False, help="Show tracebacks."),
    ]


def _try(words: Sequence[str], given: dict[str, Given], params: dict[str, Any]) -> None:
    """Try the claims and print what came of them."""
    from kdst_claims.trying import try_claims
    from kdst_claims.verdicts import changes, read

    recorded = read(params["recorded"]) if params["recorded"] is not None else None
    try:
        tried = try_claims(
            words,
            size="quick" if params["quick"] else "full",
            given=given,
            out=params["out"],
            runs=params["runs"],
            jobs=params["jobs"],
            executor=params["executor"],
            address=params["address"],
            show="quiet" if params["quiet"] else "auto",
        )
    except KeyboardInterrupt:
        click.echo(HOW_TO_GO_ON, err=True)
        raise
    _tell(tried, params)
    if recorded is not None:
        for line in (changed := changes(tried.verdicts, recorded)):
            click.secho(f"Changed: {line}", fg="red", err=True)
        sys.exit(1 if changed else 0)
    if any(v.surprises for v in tried.verdicts):
        sys.exit(1)


def _tell(tried: Any, params: dict[str, Any]) -> None:
    """Print verdicts as a table, as JSON, or where they lie."""
    from kdst_claims.display import show
    from kdst_claims.trying import BADGE, VERDICTS

    for note in tried.notes:
        click.secho(f"Warning: {note}", fg="yellow", err=True)
    for one in (v for v in tried.verdicts if v.why):
        click.secho(f"No result: {one.claim}: {one.why}", fg="red", err=True)
    if params["json"]:
        click.echo((tried.directory / VERDICTS).read_text(encoding="utf-8"), nl=False)
    elif params["quiet"]:
        click.echo(tried.directory)
    else:
        show(tried.verdicts)
        click.echo(f"Verdicts: {tried.directory / VERDICTS}, {tried.directory / BADGE}")
        click.echo(f"Report: {tried.report}")
