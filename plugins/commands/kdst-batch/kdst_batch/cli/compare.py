"""Compare methods under one protocol: one table and a report."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from kdst_batch.cli.leading import LeadingWords
from kdst_batch.cli.options import HOW_TO_GO_ON, executor_options
from kdst_core.commands import MethodCommand, click_option
from kdst_core.options import Given, Item

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

USAGE = "METHOD... [OPTIONS]"


def methods_command(methods: Sequence[str]) -> MethodCommand:
    """Return the command of several methods, with the options of their bench and of all of them."""
    groups: dict[str, list[click.Option]] = {}
    items: dict[str, Item] = {}
    if methods:
        from kdst_batch.entrants import entrants

        for who in entrants(methods):
            for section in who.setup.sections:
                for item in who.setup.items:
                    new = item.section is section and item.flag not in {*items, "--seed"}
                    if new and not item.where:
                        items[item.flag] = item
                        groups.setdefault(section.title, []).append(_option(item))
    groups.setdefault("Run", [])
    groups["Comparison"] = _own_options()

    @click.pass_context
    def callback(ctx: click.Context, /, **_params: Any) -> None:
        _compare(methods, _given(ctx, list(items.values())), ctx.params)

    made = MethodCommand(
        "compare",
        callback=callback,
        params=[option for options in groups.values() for option in options],
        help="Compare methods under one protocol: one table and a report.\n\nMETHOD is the name of a"
        " method, or with options of its own tea:profile=fast,lr=.01. Options go to every method that"
        " has them; an input given several times, such as --data, varies. Runs that exist are reused,"
        " unfinished ones continued: repeat the command after an interruption. A method that crashes"
        " is named and has no figures, the others go on; the exit code is then 1.",
        options_metavar=USAGE,
    )
    made.groups = groups
    return made


command = LeadingWords(
    "compare",
    usage=USAGE,
    short_help="Compare methods under one protocol.",
    made=methods_command,
)


def _option(item: Item) -> click.Option:
    """Return an option that may be given several times and is checked when the runs are planned."""
    made = click_option(item)
    if made.is_flag:
        return made
    return click.Option(
        [*made.opts, str(made.name)],
        type=click.STRING,
        metavar=made.metavar or "TEXT",
        multiple=True,
        default=None,
        help=made.help,
    )


def _own_options() -> list[click.Option]:
    """Return the options of the comparison itself."""
    path = click.Path(path_type=Path)
    return [
        click.Option(["--seeds"], default="0", help="Seeds: 0, 0-2 or 1,5,7.  [default: 0]"),
        click.Option(
            ["--jobs"], type=click.IntRange(1), default=1, help="Runs side by side.  [default: 1]"
        ),
        click.Option(
            ["--select"],
            is_flag=True,
            help="Also say which of a method's settings (tent:lr=.001 tent:lr=.01) criteria without"
            " labels choose, beside the best one.",
        ),
        *executor_options(),
        click.Option(["--out"], type=path, help="Where table and report go.  [default: new]"),
        click.Option(["--runs"], type=path, default=Path("runs"), help="Where the runs are kept."),
        click.Option(["--config"], type=path, help="TOML file of options."),
        click.Option(["--quiet", "-q"], is_flag=True, help="Print only the directory."),
        click.Option(["--debug"], is_flag=True, expose_value=False, help="Show tracebacks."),
    ]


def _given(ctx: click.Context, items: list[Item]) -> dict[str, list[Given]]:
    """Return the options that were given, by flag; a list option collects its values."""
    given: dict[str, list[Given]] = {}
    for item in items:
        name = "option_" + item.path.replace(".", "__")
        if ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = ctx.params[name]
        values = value if isinstance(value, tuple) else (value,)
        if "list" in str(item.type):
            values = (",".join(values),)
        given[item.flag] = [Given(v, item.flag, Path.cwd()) for v in values]
    return given


def _compare(methods: Sequence[str], given: dict[str, list[Given]], params: dict[str, Any]) -> None:
    """Carry the comparison out and print its table."""
    from kdst_batch.compare import carry
    from kdst_batch.entrants import parse_seeds

    if not methods:
        raise click.UsageError("name the methods to compare: kdst compare tea tent norm")
    try:
        comparison = carry(
            methods,
            given,
            params["out"],
            params["runs"],
            parse_seeds(params["seeds"]),
            params["jobs"],
            params["config"],
            "quiet" if params["quiet"] else "auto",
            params["executor"],
            params["address"],
            params["select"],
        )
    except KeyboardInterrupt:
        click.echo(HOW_TO_GO_ON, err=True)
        raise
    _tell(comparison, quiet=params["quiet"])


def _tell(comparison: Any, *, quiet: bool) -> None:
    """Print what came of a comparison; exit code 1 when a method has no result."""
    for line in comparison.lost:
        click.secho(f"Failed: {line}", fg="red", err=True)
    if quiet:
        click.echo(comparison.directory)
    else:
        _print(comparison)
        for warning in (w for w in comparison.warnings if w not in comparison.lost):
            click.secho(f"Warning: {warning}", fg="yellow", err=True)
        click.echo(
            f"Table: {comparison.directory / 'table.csv'}, {comparison.directory / 'table.tex'}"
        )
        click.echo(f"Report: {comparison.report}")
    if comparison.lost:
        sys.exit(1)


def _print(comparison: Any) -> None:
    """Print one table for each combination of inputs; the best of every column is bold."""
    from rich.console import Console
    from rich.text import Text

    from kdst_batch import selection, table

    console = Console(width=None if sys.stdout.isatty() else 160)
    columns = [n for n, c in enumerate(comparison.columns) if c.short]
    header = ["method", *(comparison.columns[n].label for n in columns)]
    if comparison.tested:
        header.append(f"{table.TESTED} ({comparison.columns[0].label})")
    for variant, rows in comparison.groups.items():
        strong = table.best_cells(rows, comparison.columns)
        grid = [[Text(label) for label in header]]
        for place, row in enumerate(rows):
            cells = [
                Text(
                    table.number(row.values[n], comparison.columns[n]),
                    style="bold" if (place, n) in strong else "",
                )
                for n in columns
            ]
            tested = [Text(table.tested(row, comparison.columns[0]))] if comparison.tested else []
            grid.append([Text(row.label), *cells, *tested])
        console.print(_laid_out(console, grid, variant))
        if chosen := comparison.chosen.get(variant):
            words = [
                selection.header(comparison.columns[0]),
                *selection.cells(chosen, comparison.columns[0]),
            ]
            texts = [[Text(word) for word in row] for row in words]
            console.print(_laid_out(console, texts, "settings chosen without labels"))


def _laid_out(console: "Console", grid: "list[list[Text]]", title: str) -> "Table":
    """Return a table of cells, headed by the first row, or turned round where that is too wide."""
    from rich.table import Table

    endless = console.options.update(width=100_000)
    turned = [list(column) for column in zip(*grid, strict=True)]
    for header, *body in (grid, turned):
        out = Table(title=title or None, box=None, pad_edge=False)
        for n, label in enumerate(header):
            out.add_column(label, justify="right" if n else "left", no_wrap=True)
        for cells in body:
            out.add_row(*cells)
        if console.measure(out, options=endless).maximum <= console.width:
            break
    return out
