"""Commands made of options: those of a method on a bench, and what was given on the command line."""

from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any, Literal, get_origin

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from kdst_core.options import Given, Item
from kdst_core.plugins import registry

DATA = "--data"
"""The option of a bench that a word without a flag stands for."""
NUMBER_NAMES = {int: "INTEGER", float: "NUMBER"}


def click_option(item: Item) -> click.Option:
    """Return the click option of an item; its value stays None unless it is given.

    Values are converted later with those of the environment and TOML, so that every source gets
    the same checks; click keeps what completion and help need.
    """
    from typed_settings.cli_click import ClickHandler
    from typed_settings.cli_utils import NO_DEFAULT, TypeArgsMaker

    kwargs = TypeArgsMaker(ClickHandler()).get_kwargs(item.type, NO_DEFAULT)
    flag = bool(kwargs.get("is_flag"))
    declaration = f"{item.flag}/--no-{item.flag[2:]}" if flag else item.flag
    explained = "Default:" in item.help
    text = item.help if explained else f"{item.help}  [default: {_shown(item.default)}]"
    if flag:
        return click.Option([declaration, _name(item)], default=None, help=text)
    multiple = bool(kwargs.get("multiple"))
    return click.Option(
        [declaration, _name(item)],
        type=_click_type(item, multiple),
        metavar=_metavar(item, kwargs.get("type"), multiple),
        multiple=multiple,
        default=None,
        help=text,
    )


def _name(item: Item) -> str:
    """Return the parameter name of an item in click's context."""
    return "option_" + item.path.replace(".", "__")


def _click_type(item: Item, multiple: bool) -> click.ParamType[Any]:
    """Return a type that completes well and converts nothing."""
    if not multiple and "Path" in str(item.type):
        return click.Path()
    if get_origin(item.type) is Literal:
        return click.Choice(list(item.type.__args__))
    return click.STRING


def _metavar(item: Item, converter: Any, multiple: bool) -> str | None:
    """Return the word for a value in the help, None to let click choose."""
    word = NUMBER_NAMES.get(converter, "PATH" if converter is Path else "TEXT")
    if multiple:
        return f"{word},…"
    return None if get_origin(item.type) is Literal else word


def _shown(default: Any) -> str:
    """Return a default as the help shows it."""
    if default in (None, "", []):
        return "none"
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, list | tuple):
        return ",".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def given_flags(ctx: click.Context, items: list[Item]) -> dict[str, Given]:
    """Return the options that were given on the command line, by flag."""
    given: dict[str, Given] = {}
    for item in items:
        if ctx.get_parameter_source(_name(item)) is not ParameterSource.COMMANDLINE:
            continue
        value = ctx.params[_name(item)]
        if isinstance(value, tuple):
            value = ",".join(value)
        given[item.flag] = Given(value, item.flag, Path.cwd())
    return given


def complete_method(
    _ctx: click.Context, _param: click.Parameter | None, incomplete: str
) -> list[CompletionItem]:
    """Return the installed methods whose names begin with a word."""
    methods = (p for p in registry.discover() if p.name.startswith(incomplete))
    return [CompletionItem(p.name, help=registry.summary(p)) for p in methods]


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


def method_command(name: str) -> MethodCommand:
    """Return the command of a method with all its options."""
    from kdst_core.runs.setup import setup_of

    chosen = setup_of(name)
    return command_of(chosen, name, "DATA", chosen.method.description.summary)


def command_of(chosen: Any, name: str, data: str, help: str) -> MethodCommand:
    """Return the command of a method on a bench.

    chosen: `kdst_core.runs.setup.Setup`. name: of new run directories. data: what the word without a
    flag is called, which stands for --data.
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

    word = click.Argument(["data"], required=False, metavar=f"[{data}]")
    arguments = [word] if takes_data else []
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
    place: Any = click.Path(path_type=Path)
    new = "Run directory, new or empty.  [default: runs/METHOD-TIME]"
    watch = "Observer to watch the run, such as tensorboard."
    at_once: Any = {"is_flag": True, "expose_value": False}
    asked: Any = {**at_once, "is_eager": True, "callback": _show_help}
    return [
        click.Option(["--out"], type=place, help=new),
        click.Option(["--config"], type=place, help="TOML file of options."),
        click.Option(["--resume"], is_flag=True, help="Continue the unfinished run in --out."),
        click.Option(["--observe"], multiple=True, help=watch),
        click.Option(["--quiet", "-q"], is_flag=True, help="Print only the run directory."),
        click.Option(["--debug"], help="Show the traceback of an error.", **at_once),
        click.Option(["-h", "--help"], help="Show this text.", **asked),
    ]


def _show_help(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """Print the help and leave."""
    if value:
        click.echo(ctx.get_help())
        ctx.exit()


def _run(chosen: Any, given: dict[str, Any], params: dict[str, Any], name: str) -> None:
    """Run the method; on Ctrl-C say how to continue."""
    from kdst_core.runs import execute
    from kdst_core.runs.rundir import default_directory

    out = params["out"] or (None if params["resume"] else default_directory(name))
    try:
        result = execute.execute(
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
        _refresh_index(result.directory.parent)
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


def _refresh_index(folder: Path) -> None:
    """Bring the page of all runs up to date by the command `runs`, where it is installed; it costs no run."""
    with suppress(Exception), redirect_stdout(StringIO()):
        registry.load_command("runs").main([str(folder), "--html"], standalone_mode=False)
