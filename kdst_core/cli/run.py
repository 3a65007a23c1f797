"""`kdst run METHOD`: a command for each installed method, made when it is called."""

import click
from click.shell_completion import CompletionItem

from kdst_core.commands import complete_method, method_command
from kdst_core.plugins import registry


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
