"""Reports of many runs: what a comparison's and a sweep's page have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdst_batch import table
from kdst_batch.comparable import Column
from kdst_batch.results import Finished, warnings
from kdst_core import __version__
from kdst_core.reports.blocks import Table


def heading(
    found: Sequence[Finished],
    command: str,
    kind: str,
    title: str,
    inputs: Mapping[str, Any],
    options: Mapping[str, str],
) -> dict[str, Any]:
    """Return what a page shows around its content: protocol, options, command.

    kind: the command's word. title: of the page's method. inputs: the protocol that is the same for all.
    """
    runs = {f.case.directory: f.result for f in found}
    return {
        **found[0].result,
        "method": title,
        "warnings": warnings(found),
        "input": {**inputs, "runs": len(runs)},
        "options": options,
        "command": command,
        "plugin": f"kdst {kind}",
        "plugin_version": __version__,
        "seed": ", ".join(map(str, sorted({f.case.seed for f in found}))),
        "seconds": sum(result["seconds"] for result in runs.values()),
    }


def options_of(found: Finished) -> str:
    """Return the options of a run as one text."""
    return ", ".join(f"{k} {v}" for k, v in found.result["options"].items()) or "none"


def means(
    title: str,
    first: str,
    rows: Sequence[table.Row],
    columns: Sequence[Column],
    caption: str,
    *,
    tested: bool = False,
) -> Table:
    """Return a table of means over seeds, best of each column bold.

    first: what a row is. tested: whether the test against the best stands behind the first column.
    """
    labels = [c.label for c in columns]
    test = [table.TESTED] if tested else []
    header = [first, labels[0], *test, *labels[1:]]
    cells = []
    for row in rows:
        head, *rest = (table.number(v, c) for v, c in zip(row.values, columns, strict=True))
        cells.append([row.label, head, *([table.tested(row, columns[0])] if tested else []), *rest])
    shift = 1 + tested
    strong = {(r, c + (shift if c else 1)) for r, c in table.best_cells(rows, columns)}
    return Table(title, header, cells, caption, strong)
