"""`kdst run METHOD`: a command for each installed method, made when it is called."""

from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from kdst_core import registry
from kdst_core.cli.options import click_option, given_flags
from kdst_core.options import Given

DATA = "--data"
"""The option of a bench that a word without a flag stands for."""


def complete_method(
    _ctx: click.Context, _param: click.Parameter | None, incomplete: str
) -> list[CompletionItem]:
    """Return the installed methods whose names begin with a word."""
    found = (p for p in registry.discover() if p.name.startswith(incomplete))
    return [CompletionItem(p.name, help=registry.summary(p)) for p in found]


class MethodCommand(click.Command):
    """A command whose help groups the options by what they belong to."""

    groups: dict[str, list[click.Option]]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section of options a group."""
        for title, options in self.groups.items():
            records = [r for o in options if (r := o.get_help_record(ctx))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class Methods(click.Group):
    """The installed methods as commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the installed methods; nothing is imported."""
        return sorted({p.name for p in registry.discover()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a method and its bench, and build its command."""
        return method_command(cmd_name)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the names that complete a word; nothing is imported."""
        return complete_method(ctx, None, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of methods from metadata."""
        rows = [(p.name, registry.summary(p)) for p in registry.discover()]
        with formatter.section("Methods"):
            formatter.write_dl(rows or [("(none)", "install one: pip install kdst-tea")])


@click.group(
    cls=Methods,
    subcommand_metavar="METHOD [OPTIONS]",
    no_args_is_help=False,
    invoke_without_command=True,
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Run a method and write a report.

    Values come from flags, then variables KDST_<METHOD>_<OPTION>, then the file given by --config.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def method_command(name: str) -> MethodCommand:
    """Return the command of a method with all its options."""
    from kdst_core import api

    chosen = api.command(name)
    return command_of(chosen, name, "DATA", chosen.method.description.summary)


def command_of(chosen: Any, name: str, data: str, help: str) -> MethodCommand:
    """Return the command of a method on a bench.

    chosen: `kdst_core.api.Command`. name: of new run directories. data: what the word without a flag is
    called, which stands for --data.
    """
    groups = {
        section.title: [click_option(i) for i in chosen.items if i.section is section]
        for section in chosen.sections
    }
    groups["Run"] += _run_options()

    takes_data = any(item.flag == DATA for item in chosen.items)

    @click.pass_context
    def callback(ctx: click.Context, /, **_params: Any) -> None:
        given = given_flags(ctx, chosen.items)
        if ctx.params.get("data") is not None:
            _add_data(given, ctx.params["data"])
        _run(chosen, given, ctx.params, name)

    arguments = (
        [click.Argument(["data"], required=False, metavar=f"[{data}]")] if takes_data else []
    )
    command = MethodCommand(
        " ".join(chosen.called or ("run", name)),
        callback=callback,
        params=[*arguments, *(option for options in groups.values() for option in options)],
        help=help,
    )
    command.groups = groups
    return command


def _add_data(given: dict[str, Given], value: str) -> None:
    """Take the word after the method's name for --data."""
    if DATA in given:
        raise click.UsageError(f"the data are given twice: {value} and {DATA} {given[DATA].value}")
    given[DATA] = Given(value, "DATA", Path.cwd())


def _run_options() -> list[click.Option]:
    """Return the options that say where and how, not what."""
    return [
        click.Option(
            ["--out"],
            type=click.Path(path_type=Path),
            help="Run directory, new or empty.  [default: runs/METHOD-TIME]",
        ),
        click.Option(["--config"], type=click.Path(path_type=Path), help="TOML file of options."),
        click.Option(["--resume"], is_flag=True, help="Continue the unfinished run in --out."),
        click.Option(
            ["--observe"], multiple=True, help="Observer to watch the run, such as tensorboard."
        ),
        click.Option(["--quiet", "-q"], is_flag=True, help="Print only the run directory."),
        click.Option(
            ["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error."
        ),
        click.Option(
            ["-h", "--help"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_show_help,
            help="Show this text.",
        ),
    ]


def _show_help(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """Print the help and leave."""
    if value:
        click.echo(ctx.get_help())
        ctx.exit()


def _run(chosen: Any, given: dict[str, Any], params: dict[str, Any], name: str) -> None:
    """Run the method; on Ctrl-C say how to continue."""
    from kdst_core import api, listing
    from kdst_core.rundir import default_directory

    out = params["out"] or (None if params["resume"] else default_directory(name))
    try:
        result = api.execute(
            chosen,
            given,
            {},
            out=out,
            resume=params["resume"],
            config=params["config"],
            show="quiet" if params["quiet"] else "auto",
            observe=params["observe"],
        )
    except KeyboardInterrupt:
        if out is not None and (out / "config.toml").exists():
            click.echo(f"Continue with the same options and: --out {out} --resume", err=True)
        raise
    if params["out"] is None:
        listing.refresh(result.directory.parent)
    if params["quiet"]:
        click.echo(result.directory)
        return
    if not result.summary:
        click.echo("This run was already complete.")
    for line in result.summary:
        click.echo(line)
    for warning in result.warnings:
        click.secho(f"Warning: {warning}", fg="yellow", err=True)
    click.echo(f"Report: {result.report}")
