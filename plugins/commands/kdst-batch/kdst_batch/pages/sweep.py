"""The report of a sweep: how far it is, a picture for each option that varies, the table, failures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from kdst_batch import results, table
from kdst_batch.comparable import Column
from kdst_batch.pages import heading, means, options_of
from kdst_batch.results import Finished
from kdst_batch.state import State
from kdst_core.files import write_atomically
from kdst_core.reports import charts, report
from kdst_core.reports.blocks import Figure, ReportContent, Stat, Table
from kdst_core.runs.rundir import REPORT

FIGURES = 6
"""Options with a picture of their own, those with the most values first."""


def write(state: State, found: Sequence[Finished], command: str) -> Path:
    """Write `report.html` of a sweep and return its path."""
    blocks: list[Figure | Table] = []
    stats = _stats(state)
    for capability, group in results.by_capability(found).items():
        wanted = results.columns(group)
        if not wanted:
            continue
        rows = results.over_seeds(group, wanted)
        best = rows[table.best([r.values for r in rows], wanted, 0)]
        value = table.number(best.values[0], wanted[0])
        stats.append(Stat(f"best {wanted[0].label}", value, best.label, strong=True))
        blocks += [*_figures(capability, group, wanted[0]), _table(capability, rows, wanted)]
    failures = state.failures()
    if failures:
        cells = [[name, str(f["attempts"]), f["error"]] for name, f in failures.items()]
        blocks.append(Table("Failed", ["case", "attempts", "last lines"], cells))
    content = ReportContent(_sentence(state, len(failures)), stats, blocks)
    page = report.page(_head(found, command), content, "kdst sweep", "Sweep")
    path = state.directory / REPORT
    write_atomically(path, page)
    return path


def _stats(state: State) -> list[Stat]:
    """Return the headline numbers."""
    counts = state.counts()
    failed = f"{counts.failed} failed" if counts.failed else "none failed"
    return [Stat("cases done", f"{counts.done} of {counts.total}", failed)]


def _sentence(state: State, failed: int) -> str:
    """Say in one sentence what was run."""
    methods = list(dict.fromkeys(case.method for case in state.cases))
    axes = list(dict.fromkeys(key for case in state.cases for key in case.varied))
    seeds = len({case.seed for case in state.cases})
    varied = f", varying {', '.join(axes)}" if axes else ""
    text = f"{', '.join(methods)}{varied}, over {seeds} seed{'s' if seeds > 1 else ''}."
    return text + (f" {failed} cases failed." if failed else "")


def _figures(capability: str, group: Sequence[Finished], column: Column) -> list[Figure]:
    """Return a picture of the first column for each option that varies, or by method where none does.

    There is none where nothing is installed that draws.
    """
    if not charts.available():
        return []
    axes: dict[str, set[str]] = {}
    for one in group:
        for key, value in one.case.varied.items():
            axes.setdefault(key, set()).add(str(value))
    varied = sorted((k for k in axes if len(axes[k]) > 1), key=lambda k: -len(axes[k]))[:FIGURES]
    figures = [_figure(capability, group, column, key) for key in varied or ["method"]]
    return [*figures, _times(capability, group)]


def _figure(capability: str, group: Sequence[Finished], column: Column, axis: str) -> Figure:
    """Return the first column against one option, a line a method."""
    lines: dict[str, dict[str, list[float]]] = {}
    for one in group:
        if axis == "method":
            place = one.case.name or one.case.method
        elif axis in one.case.varied:
            place = str(results.rows([one])[0][axis])
        else:
            continue
        value = column.scale * table.figure(one.result["metrics"][column.metric])
        label = "cases" if axis == "method" else one.case.name or one.case.method
        lines.setdefault(label, {}).setdefault(place, []).append(value)
    places = _ordered({place for line in lines.values() for place in line})
    with charts.figure(5.4, 3.4) as (fig, axes):
        for number, (label, line) in enumerate(lines.items()):
            _line(axes, label, line, places, number, len(lines))
        axes.set_xticks(range(len(places)), places, rotation=0 if len(places) < 5 else 30)
        axes.set_xlabel(axis.replace("_", " "))
        axes.set_ylabel(column.label)
        if len(lines) > 1:
            axes.legend()
        drawn = charts.svg(fig, f"sweep {capability} {axis}")
    caption = "Mean over all cases with that value ± half its 95 % interval; a faint dot a case."
    return Figure(f"{column.label} by {axis.replace('_', ' ')}", caption, svg=drawn)


def _ordered(places: set[str]) -> list[str]:
    """Return the values of an axis in order: numbers by size, else by name."""
    try:
        return sorted(places, key=float)
    except ValueError:
        return sorted(places)


def _line(
    axes: Any,
    label: str,
    line: Mapping[str, Sequence[float]],
    places: Sequence[str],
    number: int,
    count: int,
) -> None:
    """Draw one method: a dot a case, and means with intervals."""
    colour = charts.SERIES[1 + number % (len(charts.SERIES) - 1)]
    shift = 0.5 * (number - (count - 1) / 2) / count
    spots = [k for k, place in enumerate(places) if place in line]
    values = [table.over_seeds(line[places[k]]) for k in spots]
    for k in spots:
        cases = line[places[k]]
        axes.plot([k + shift] * len(cases), cases, ".", color=colour, alpha=0.35)
    axes.errorbar(
        [k + shift for k in spots],
        [v.mean for v in values],
        [v.half or 0.0 for v in values],
        color=colour,
        fmt="o",
        capsize=3,
        label=label,
    )


def _times(capability: str, group: Sequence[Finished]) -> Figure:
    """Return the mean seconds of a run by method."""
    seconds: dict[str, list[float]] = {}
    for one in group:
        seconds.setdefault(one.case.name or one.case.method, []).append(one.result["seconds"])
    with charts.figure(5.4, max(1.6, 0.5 * len(seconds) + 1)) as (fig, axes):
        names = list(seconds)[::-1]
        axes.barh(names, [mean(seconds[n]) for n in names], color=charts.SERIES[1])
        axes.set_xlabel("seconds a run, mean")
        drawn = charts.svg(fig, f"sweep {capability} seconds")
    caption = "Wall time of a run as it was carried out, beside the others."
    return Figure("Time by method", caption, svg=drawn)


def _table(capability: str, rows: Sequence[table.Row], wanted: Sequence[Column]) -> Table:
    """Return the means over seeds."""
    caption = (
        "Mean ± half the 95 % interval over seeds (Student's t). Best of each column bold; cases on"
        " different data are not to be ranked by it."
    )
    return means(f"All cases: {capability}", "case", rows, wanted, caption)


def _head(found: Sequence[Finished], command: str) -> dict[str, Any]:
    """Return what the page shows around the content."""
    same = {
        key: value
        for key, value in found[0].result["input"].items()
        if not isinstance(value, Mapping)
        and all(f.result["input"].get(key) == value for f in found)
    }
    options = {f.case.method: options_of(f) for f in reversed(found)}
    return heading(found, command, "sweep", "sweep", same, dict(reversed(options.items())))
