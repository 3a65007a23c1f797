"""The command `kdst`. Each subcommand is a module that is imported only when it is called.

Packages add commands by entry points of the group `kdst.commands`; a name of the core wins.
"""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from kdst_core import __version__
from kdst_core.errors import KdstError, Terminated, did_you_mean, typed_line
from kdst_core.plugins import entries
from kdst_core.plugins.catalogue import published

COMMANDS = {
    "plugins": "List installed methods and what is wrong with the broken ones.",
    "run": "Run a method and write a report.",
}

WITH = "--with"
"""Names a package that the command is carried out with, in an environment of its own."""

_called: list[str] = []
"""The command of a package that this process carries out, if any."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and one line, and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [*COMMANDS, *_added()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, which SIGTERM stops from now on."""
        heed_termination()
        if cmd_name in COMMANDS:
            module = import_module(f"kdst_core.cli.{cmd_name}")
            command: click.Command = module.command
            return command
        added = _added()
        if cmd_name not in added and cmd_name not in published("commands"):
            hint = _hint(cmd_name, added)
            raise click.UsageError(f"no command {cmd_name!r}.{hint}", ctx)
        from kdst_core.plugins.registry import load_command

        command = load_command(cmd_name)
        _called.append(cmd_name)
        return _as_click(cmd_name, command)

    def get_help(self, ctx: click.Context) -> str:
        """Return the help, as wide as click makes it."""
        ctx.terminal_width = ctx.terminal_width or _width()
        return super().get_help(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the tables of commands without importing any."""
        added = _added()
        for title, table in (("Commands", COMMANDS), ("Commands of installed packages", added)):
            if table:
                with formatter.section(title):
                    formatter.write_dl(list(table.items()))


def _width() -> int:
    """Return how wide click makes a help; it asks `shutil`, which imports what unpacks archives."""
    columns = 0
    with suppress(ValueError):
        columns = int(os.environ.get("COLUMNS", 0))
    with suppress(AttributeError, ValueError, OSError):
        columns = columns if columns > 0 else os.get_terminal_size(sys.__stdout__.fileno()).columns  # type: ignore[union-attr]
    return max(min(columns if columns > 0 else 80, 80) - 2, 50)


def _hint(word: str, added: Iterable[str]) -> str:
    """Return what was probably meant by a word that is no command: `kdst run` of a method, or another."""
    from kdst_core.plugins import registry

    if word in published("methods") or word in {p.name for p in registry.discover()}:
        return f" {word} is a method; did you mean: kdst run {word}"
    return did_you_mean(word, [*COMMANDS, *added, *published("commands")])


def _as_click(name: str, command: Any) -> click.Command:
    """Return what a package registers as a click command; a Typer app becomes one."""
    if isinstance(command, click.Command):
        return command
    if type(command).__module__.partition(".")[0] == "typer":
        made = import_module("typer.main").get_command(command)
        return made if isinstance(made, click.Command) else _passing_on(made)
    raise KdstError(f"the command {name!r} is neither a click command nor a Typer app")


def _passing_on(app: Any) -> click.Command:
    """Return a command that gives all its words to a Typer app, which may carry a click of its own."""

    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    @click.pass_context
    def callback(ctx: click.Context, words: tuple[str, ...]) -> None:
        app.main(args=list(words), prog_name=ctx.command_path)

    settings = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    return click.command(context_settings=settings, add_help_option=False)(callback)


def _added() -> dict[str, str]:
    """Return the commands that packages add, without names that the core has."""
    return {name: line for name, line in entries.commands().items() if name not in COMMANDS}


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
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
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Run the command; errors become one or two lines and an exit code."""
    debug = "--debug" in sys.argv[1:]
    try:
        code: Any = cli.main(with_first(sys.argv[1:]), standalone_mode=False)
    except KdstError as e:
        code = _fail(str(e), e, debug, e.exit_code)
    except click.UsageError as e:
        path = e.ctx.command_path if e.ctx else "kdst"
        code = _fail(f"{e.format_message()}\nSee: {path} --help", e, debug, 2)
    except click.ClickException as e:
        code = _fail(e.format_message(), e, debug, 2)
    except (KeyboardInterrupt, click.Abort) as e:
        ended = isinstance(e, Terminated) or isinstance(e.__cause__, Terminated)
        code = _fail("terminated" if ended else "interrupted", e, debug, 143 if ended else 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as e:
        place = f": {e.filename}" if e.filename else ""
        code = _fail(f"{e.strerror or e}{place}", e, debug, 2)
    except Exception as e:
        code = _fail(_unforeseen(e), e, debug, 1)
    sys.exit(code if isinstance(code, int) else 0)


def with_first(words: list[str]) -> list[str]:
    """Return a command line whose `--with PACKAGE` come first: `kdst with PACKAGE… -- run tea`.

    So the command is looked up where the packages are. Flags of kdst itself stay first; what follows a
    `--` is the command's own.
    """
    packages: list[str] = []
    flags: list[str] = []
    rest: list[str] = []
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if word == "--":
            rest += [word, *left]
        elif name != WITH or not rest:
            (rest if rest or not word.startswith("-") else flags).append(word)
        elif (package := value if equals else next(left, "")) and not package.startswith("-"):
            packages.append(package)
        else:
            raise click.UsageError(f"{WITH} needs a package: a published name, a folder or a wheel")
    after = rest[1:] if rest[:1] == ["with"] else ["--", *rest]
    return [*flags, "with", *packages, *after] if packages else words


def _unforeseen(error: Exception) -> str:
    """Return what to say of an exception that nobody foresaw: whose it is, and how to see where."""
    if not _called:
        return f"{type(error).__name__}: {error}\nThis is a bug in kdst; kdst --debug … shows where"
    return (
        f"the command {_called[-1]!r}, which a package adds, failed with {typed_line(error)}\n"
        "Report this to the author of the package; kdst --debug … shows where"
    )


def heed_termination() -> None:
    """Let SIGTERM, by which clusters end a job, stop work as Ctrl-C does."""
    import signal
    import threading

    def stop(_number: int, _frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
        raise Terminated

    ours = threading.current_thread() is threading.main_thread()
    if ours and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, stop)


def _fail(message: str, error: BaseException, debug: bool, code: int) -> int:
    """Print an error to stderr, after its traceback when debugging."""
    if debug:
        import traceback

        traceback.print_exception(error)
    click.echo(f"Error: {message}", err=True)
    return code
