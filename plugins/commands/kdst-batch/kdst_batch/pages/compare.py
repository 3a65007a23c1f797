"""What a finished comparison is, and its report: sentence, headline numbers, figures, table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from kdst_batch import selection, table
from kdst_batch.comparable import Column, Comparable, Contender
from kdst_batch.pages import heading, means, options_of
from kdst_batch.results import Finished
from kdst_core.reports.blocks import Figure, ReportContent, Stat, Table
from kdst_core.runs.rundir import REPORT


@frozen
class Comparison:
    """A finished comparison: its directory, and a list of rows for each combination of inputs.

    lost: a line for each method that has no result, since its process died or it failed. chosen: by
    combination, which settings label-free criteria choose, where that was asked for.
    """

    directory: Path
    columns: Sequence[Column]
    groups: Mapping[str, Sequence[table.Row]]
    warnings: Sequence[str]
    tested: bool
    lost: Sequence[str] = ()
    chosen: Mapping[str, Sequence[selection.Choice]] = field(factory=dict)

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.directory / REPORT


def page_content(
    found: Comparison, groups: Mapping[str, Sequence[Contender]], bench: Comparable | None
) -> ReportContent:
    """Return the report: headline numbers and figures of the bench, and the table."""
    stats: list[Stat] = []
    blocks: list[Figure | Table] = []
    for variant in found.groups:
        group = groups.get(variant)
        if bench is not None and group:
            numbers, figures = bench.comparison(group)
            stats += numbers
            prefix = f"{variant}: " if variant else ""
            blocks += [evolve(f, title=prefix + f.title) for f in figures]
        if found.chosen.get(variant):
            blocks.append(selection.block(found.chosen[variant], found.columns[0], variant))
        blocks.append(report_table(found, variant))
    return ReportContent(verdict(found), stats, blocks)


def verdict(found: Comparison) -> str:
    """Say in one sentence which method is best in the first column, and which are no worse."""
    column, sentences = found.columns[0], []
    for variant, rows in found.groups.items():
        if all(row.lost for row in rows):
            continue
        top = rows[table.best([r.values for r in rows], found.columns, 0)]
        equal = [r.label for r in rows if r.test is not None and r.test.p >= 0.05]
        place = f" on {variant}" if variant else ""
        text = (
            f"Best{place} by {column.label}: {top.label} ({table.number(top.values[0], column)})."
        )
        if equal:
            text += f" Not distinguishable from it (p ≥ .05): {', '.join(equal)}."
        sentences.append(text)
    return " ".join(sentences)


def report_table(found: Comparison, variant: str) -> Table:
    """Return the table of one combination of inputs."""
    caption = (
        "Mean ± half the 95 % interval over seeds (Student's t); methods and data that draw nothing"
        " are run once. Best of each column bold."
    )
    if found.tested:
        caption += (
            f" {table.TESTED.capitalize()}: {found.columns[0].label}, paired difference to the best,"
            " 95 % interval and p, not corrected for the number of methods."
        )
    title = f"All figures{': ' + variant if variant else ''}"
    rows = found.groups[variant]
    return means(title, "method", rows, found.columns, caption, tested=found.tested)


def head(found: Sequence[Finished], command: str, said: Sequence[str]) -> dict[str, Any]:
    """Return what the page shows around the content; said: the warnings of the comparison."""
    inputs = {k: v for k, v in found[0].result["input"].items() if not isinstance(v, Mapping)}
    options = {f.case.method: options_of(f) for f in found}
    return {
        **heading(found, command, "compare", "comparison", inputs, options),
        "warnings": list(said),
    }
