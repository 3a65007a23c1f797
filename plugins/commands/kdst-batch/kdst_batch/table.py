"""From results to rows: mean and interval over seeds, the best, and a paired test against it."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from attrs import frozen

from kdst_batch.comparable import Column, Comparable, Contender
from kdst_batch.statistics import normal_interval, student_quantile, two_sided_p

TESTED = "behind the best"
"""Header of the paired test."""


@frozen
class Value:
    """A metric over seeds: its mean, and half the width of its 95 % interval (None for one run)."""

    mean: float
    half: float | None


@frozen
class Test:
    """A paired difference to the best method: value, 95 % interval and two-sided p."""

    difference: float
    low: float
    high: float
    p: float


@frozen
class Row:
    """One method: a value for each column, and the test (None for the best, or without a bench's).

    lost: why it has no result; empty where it has one.
    """

    label: str
    values: tuple[Value, ...]
    test: Test | None
    lost: str = ""


def over_seeds(numbers: Sequence[float]) -> Value:
    """Return mean and half interval of a metric over seeds (Student's t).

    NaN where a seed has no figure, such as a cost of too few batches.
    """
    count = len(numbers)
    if any(map(math.isnan, numbers)):
        return Value(math.nan, None)
    if count < 2:
        return Value(numbers[0], None)
    return Value(mean(numbers), student_quantile(count - 1) * stdev(numbers) / math.sqrt(count))


def paired_test(difference: float, error: float) -> Test:
    """Return interval and p of a difference with a standard error (normal approximation)."""
    return Test(difference, *normal_interval(difference, error), two_sided_p(difference, error))


def columns(contenders: Sequence[Contender], bench: Comparable | None) -> list[Column]:
    """Return the columns that every result has."""
    first = contenders[0].results[0]
    known = [r["metrics"].keys() for c in contenders for r in c.results]
    if bench is not None:
        wanted = list(bench.columns(first))
    else:
        wanted = [Column(name, name, digits=4) for name in first["metrics"]]
    return [c for c in wanted if all(c.metric in metrics for metrics in known)]


def rows(
    contenders: Sequence[Contender], wanted: Sequence[Column], bench: Comparable | None
) -> list[Row]:
    """Return one row a method, in the order given."""
    values = [
        tuple(over_seeds([figure(r["metrics"][c.metric]) for r in who.results]) for c in wanted)
        for who in contenders
    ]
    if bench is None:
        return [Row(who.label, v, None) for who, v in zip(contenders, values, strict=True)]
    leader = best(values, wanted, 0)
    found = []
    for number, who in enumerate(contenders):
        other = number != leader
        test = paired_test(*bench.paired(who, contenders[leader])) if other else None
        found.append(Row(who.label, values[number], test))
    return found


def without_result(label: str, reason: str, wanted: Sequence[Column]) -> Row:
    """Return the row of a method that was lost: it stays in the table, without figures."""
    return Row(label, (Value(math.nan, None),) * len(wanted), None, reason)


def figure(value: float | None) -> float:
    """Return a figure of a result; NaN where it could not be told."""
    return math.nan if value is None else value


def best(values: Sequence[Sequence[Value]], wanted: Sequence[Column], column: int) -> int:
    """Return the number of the row that is best in a column."""
    sign = 1 if wanted[column].better == "higher" else -1

    def rank(row: int) -> float:
        mean = values[row][column].mean
        return -math.inf if math.isnan(mean) else sign * mean

    return max(range(len(values)), key=rank)


def best_cells(found: Sequence[Row], wanted: Sequence[Column]) -> set[tuple[int, int]]:
    """Return (row, column) of the best value of every column, ties as shown included."""
    cells = set()
    for column, about in enumerate(wanted):
        top = found[best([r.values for r in found], wanted, column)].values[column]
        if math.isnan(top.mean):
            continue
        shown = number(Value(top.mean, None), about)
        cells |= {
            (row, column)
            for row, r in enumerate(found)
            if number(Value(r.values[column].mean, None), about) == shown
        }
    return cells


def number(value: Value, column: Column, plus_minus: str = " ± ") -> str:
    """Return a value as text, with its interval where there is one."""
    if math.isnan(value.mean):
        return "–"
    text = f"{column.scale * value.mean:.{column.digits}f}"
    if value.half is not None:
        text += f"{plus_minus}{column.scale * value.half:.{column.digits}f}"
    return text


def tested(row: Row, column: Column) -> str:
    """Return the paired test as text: difference, interval, p."""
    if row.test is None:
        return "no result" if row.lost else "best"
    t, k, d = row.test, column.scale, column.digits
    p = "p < .001" if t.p < 0.001 else f"p = {t.p:.3f}".replace("0.", ".")
    return f"{k * t.difference:+.{d}f} ({k * t.low:+.{d}f} to {k * t.high:+.{d}f}), {p}"


def to_csv(groups: Mapping[str, Sequence[Row]], wanted: Sequence[Column]) -> str:
    """Return all rows as CSV, in the units of `result.json`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [n for c in wanted for n in (c.metric, f"{c.metric}.interval")]
    test = ["difference", "difference.low", "difference.high", "p"]
    writer.writerow(["inputs", "method", *names, *test])
    for variant, found in groups.items():
        for row in found:
            cells: list[Any] = [variant, row.label]
            for value in row.values:
                mean = "" if math.isnan(value.mean) else value.mean
                cells += [mean, "" if value.half is None else value.half]
            t = row.test
            cells += ["", "", "", ""] if t is None else [t.difference, t.low, t.high, t.p]
            writer.writerow(cells)
    return out.getvalue()


def to_latex(groups: Mapping[str, Sequence[Row]], wanted: Sequence[Column]) -> str:
    """Return a booktabs table; the best of every column is bold."""
    head = " & ".join(["Method", *(_escape(c.label) for c in wanted)])
    lines = [rf"\begin{{tabular}}{{l{'r' * len(wanted)}}}", r"\toprule", head + r" \\"]
    for variant, found in groups.items():
        lines.append(r"\midrule")
        if variant:
            span = len(wanted) + 1
            lines.append(rf"\multicolumn{{{span}}}{{l}}{{{_escape(variant)}}} \\")
        strong = best_cells(found, wanted)
        for place, row in enumerate(found):
            cells = [_escape(row.label)]
            for column, value in enumerate(row.values):
                text = number(value, wanted[column], r" $\pm$ ")
                cells.append(rf"\textbf{{{text}}}" if (place, column) in strong else text)
            lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _escape(text: str) -> str:
    """Return text with LaTeX's special characters escaped."""
    table = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    table |= {c: "\\" + c for c in "&%$#_{}"}
    return "".join(table.get(c, c) for c in text).replace("×", r"$\times$")
