"""Click options for the sections of a command, and the values that were given on the command line."""

from pathlib import Path
from typing import Any, Literal, get_origin

import click
from click.core import ParameterSource

from kdst_core.options import Given, Item

HOW_TO_GO_ON = "Continue by the same command: finished runs are reused, unfinished ones continued."
"""Said where a comparison or a sweep is ended by Ctrl-C or SIGTERM."""
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


def executor_options() -> list[click.Option]:
    """Return the options that say where work is carried out."""
    from kdst_core.executors import BUILT_IN

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
    found: dict[str, Given] = {}
    for item in items:
        if ctx.get_parameter_source(_name(item)) is not ParameterSource.COMMANDLINE:
            continue
        value = ctx.params[_name(item)]
        if isinstance(value, tuple):
            value = ",".join(value)
        found[item.flag] = Given(value, item.flag, Path.cwd())
    return found
