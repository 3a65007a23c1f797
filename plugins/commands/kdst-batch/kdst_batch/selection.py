"""Which setting of a method each label-free criterion would have chosen, beside the best one."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from attrs import frozen

from kdst_batch import table
from kdst_batch.comparable import Column, Contender
from kdst_core.errors import KdstError
from kdst_core.options import Given
from kdst_core.reports.blocks import Table

CSV = "selection.csv"
ORACLE, WORST = "oracle", "worst"
Inputs = Mapping[str, Sequence[Given]]


@runtime_checkable
class Selecting(Protocol):
    """What a bench adds, so that settings of its methods can be chosen without labels.

    selecting: flag and value of the input by which runs measure the criteria.
    """

    selecting: tuple[str, str]

    def criteria(self) -> Sequence[Column]:
        """Return the criteria as metrics, each with the direction in which it is better."""


@frozen
class Choice:
    """The setting of a method that a criterion chooses, with its figure in the ranking column.

    behind: how far that lies behind the oracle's, in the column's unit; chosen is empty where the
    criterion could not be measured for every setting.
    """

    method: str
    criterion: str
    chosen: str
    figure: float
    behind: float


def with_criteria(
    bench: object, given: Inputs, labels: Sequence[str]
) -> dict[str, Sequence[Given]]:
    """Return the inputs of a comparison by whose runs settings can be chosen.

    KdstError where the bench has no criteria, no method has two settings, or an input is against it.
    """
    if not isinstance(bench, Selecting):
        raise KdstError("--select: this capability has no label-free criteria; adapt has")
    if not several(labels):
        raise KdstError(
            "--select needs a method with two settings or more, such as tent:lr=.001 tent:lr=.01"
        )
    flag, value = bench.selecting
    other = [g for g in given.get(flag, ()) if str(g.value) != value]
    if other:
        raise KdstError(f"--select measures {flag} {value}; leave {flag} {other[0].value} out")
    return {**given, flag: [Given(value, "--select", Path.cwd())]}


def several(labels: Sequence[str]) -> dict[str, list[str]]:
    """Return the labels of each method that takes part with two settings or more."""
    found: dict[str, list[str]] = {}
    for label in labels:
        found.setdefault(label.partition(":")[0], []).append(label)
    return {name: settings for name, settings in found.items() if len(settings) > 1}


def choices(
    contenders: Sequence[Contender], ranking: Column, criteria: Sequence[Column]
) -> list[Choice]:
    """Return what each criterion chooses for each method with several settings.

    ranking: the column by which the oracle chooses. Figures are means over seeds.
    """
    known = {who.label: who for who in contenders}
    found: list[Choice] = []
    for method, labels in several([*known]).items():
        figures = {label: _mean(known[label], ranking) for label in labels}
        best = _best(figures, ranking)
        picked = {ORACLE: best}
        for column in criteria:
            values = {label: _mean(known[label], column) for label in labels}
            told = not any(map(math.isnan, values.values()))
            picked[column.label] = _best(values, column) if told else ""
        picked[WORST] = _best({label: -figure for label, figure in figures.items()}, ranking)
        for name, label in picked.items():
            figure = figures.get(label, math.nan)
            found.append(Choice(method, name, label, figure, abs(figures[best] - figure)))
    return found


def _mean(who: Contender, column: Column) -> float:
    """Return the mean of a metric over seeds, NaN where it could not be told."""
    values = [table.figure(r["metrics"].get(column.metric)) for r in who.results]
    return sum(values) / len(values)


def _best(values: Mapping[str, float], column: Column) -> str:
    """Return the label whose value is best, the first of equal ones."""
    sign = 1 if column.better == "higher" else -1
    return max(values, key=lambda label: sign * values[label])


def cells(found: Sequence[Choice], ranking: Column) -> list[list[str]]:
    """Return the rows of a table: method, criterion, setting, figure, and how far behind the oracle."""
    scale, digits = ranking.scale, ranking.digits
    return [
        [
            c.method,
            c.criterion,
            c.chosen.partition(":")[2] or ("default" if c.chosen else "not measured"),
            *("–" if math.isnan(v) else f"{scale * v:.{digits}f}" for v in (c.figure, c.behind)),
        ]
        for c in found
    ]


def header(ranking: Column) -> list[str]:
    """Return the header of a table of choices."""
    return ["method", "chosen by", "setting", ranking.label, "behind the oracle"]


def block(found: Sequence[Choice], ranking: Column, variant: str) -> Table:
    """Return the table of a report."""
    caption = (
        "Which setting of a method each criterion chooses without labels; the oracle chooses by"
        f" {ranking.label}, and so sees the labels. Means over seeds."
    )
    title = f"Settings chosen without labels{': ' + variant if variant else ''}"
    return Table(title, header(ranking), cells(found, ranking), caption)


def to_csv(groups: Mapping[str, Sequence[Choice]], ranking: Column) -> str:
    """Return all choices as CSV, in the units of `result.json`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["inputs", "method", "criterion", "setting", ranking.metric, "behind"])
    for variant, found in groups.items():
        for c in found:
            numbers = ["" if math.isnan(v) else v for v in (c.figure, c.behind)]
            writer.writerow([variant, c.method, c.criterion, c.chosen, *numbers])
    return out.getvalue()
