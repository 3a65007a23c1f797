"""The command `kdst`. Each subcommand is a module that is imported only when it is called.

Packages add commands by entry points of the group `kdst.commands`; a name of the core wins.
"""

import os
import sys
from importlib import import_module
from typing import Any

import click

from kdst_core import __version__, entries
from kdst_core.errors import KdstError, did_you_mean

COMMANDS = {
    "check": "Hold a method to the conformance kit.",
    "compare": "Compare methods under one protocol: one table and a report.",
    "doctor": "Look at the environment and at every plugin; say what is wrong.",
    "info": "Show a method: options with defaults, paper, citation.",
    "new": "Begin a method: a complete package that runs and passes its tests.",
    "plugins": "List installed methods and what is wrong with the broken ones.",
    "report": "Make a run's report again from its result.",
    "run": "Run a method and write a report.",
    "sweep": "Carry out many runs, planned in a file: grids, lists, named cases.",
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and one line, and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [*COMMANDS, *_added()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in COMMANDS:
            module = import_module(f"kdst_core.cli.{cmd_name}")
            command: click.Command = module.command
            return command
        added = _added()
        if cmd_name not in added and cmd_name not in entries.COMMAND_CATALOGUE:
            hint = did_you_mean(cmd_name, [*COMMANDS, *added, *entries.COMMAND_CATALOGUE])
            raise click.UsageError(f"no command {cmd_name!r}.{hint}", ctx)
        from kdst_core.registry import load_command

        command = load_command(cmd_name)
        if not isinstance(command, click.Command):
            raise KdstError(
                f"the command {cmd_name!r} is not a click command; its package is broken"
            )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the tables of commands without importing any."""
        added = _added()
        for title, table in (("Commands", COMMANDS), ("Commands of installed packages", added)):
            if table:
                with formatter.section(title):
                    formatter.write_dl(list(table.items()))


def _added() -> dict[str, str]:
    """Return the commands that packages add, without names that the core has."""
    return {name: line for name, line in entries.commands().items() if name not in COMMANDS}


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    __version__, "-V", "--version", prog_name="kdst", message="%(prog)s %(version)s"
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Run machine-learning research methods as plugins, measured honestly, with a report.

    Start with: kdst run tea
    """
    ctx.meta["kdst.debug"] = debug


def main() -> None:
    """Run the command; errors become one or two lines and an exit code."""
    debug = "--debug" in sys.argv[1:]
    try:
        code: Any = cli.main(standalone_mode=False)
    except KdstError as e:
        code = _fail(str(e), e, debug, e.exit_code)
    except click.UsageError as e:
        path = e.ctx.command_path if e.ctx else "kdst"
        code = _fail(f"{e.format_message()}\nSee: {path} --help", e, debug, 2)
    except click.ClickException as e:
        code = _fail(e.format_message(), e, debug, 2)
    except (KeyboardInterrupt, click.Abort) as e:
        code = _fail("interrupted", e, debug, 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as e:
        place = f": {e.filename}" if e.filename else ""
        code = _fail(f"{e.strerror or e}{place}", e, debug, 2)
    except Exception as e:
        text = f"{type(e).__name__}: {e}\nThis is a bug in kdst; kdst --debug … shows where"
        code = _fail(text, e, debug, 1)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, error: BaseException, debug: bool, code: int) -> int:
    """Print an error to stderr, after its traceback when debugging."""
    if debug:
        import traceback

        traceback.print_exception(error)
    click.echo(f"Error: {message}", err=True)
    return code
