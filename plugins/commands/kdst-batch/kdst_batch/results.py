"""The results of cases: one by one, by row over the seeds, and as CSV, Parquet and LaTeX."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_batch import table
from kdst_batch.comparable import Column, Contender
from kdst_batch.plan import Case
from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_core.plugins import registry
from kdst_core.runs.result import load_result

CSV, PARQUET, LATEX = "table.csv", "table.parquet", "table.tex"

Rows = list[dict[str, Any]]


@frozen
class Finished:
    """A case with its result."""

    case: Case
    result: Mapping[str, Any]

    @property
    def capability(self) -> str:
        """What its method can do; only results of one capability are set side by side."""
        return str(self.result["capability"])


def finished(cases: Sequence[Case]) -> list[Finished]:
    """Return every case that has its result."""
    return [Finished(case, load_result(case.directory).data) for case in cases if case.is_done]


def contenders(found: Sequence[Finished], label: Callable[[Case], str]) -> list[Contender]:
    """Return the results of the cases that are called the same, over their seeds, in order."""
    groups: dict[str, list[Finished]] = {}
    for one in found:
        groups.setdefault(label(one.case), []).append(one)
    return [
        Contender(name, [f.result for f in group], [f.case.directory for f in group])
        for name, group in groups.items()
    ]


def warnings(found: Sequence[Finished]) -> list[str]:
    """Return the warnings of all runs, each once."""
    return list(dict.fromkeys(w for f in found for w in f.result["warnings"]))


def rows(found: Sequence[Finished]) -> Rows:
    """Return a row a case, all with the same keys: what varies, then times, then every metric."""
    varied = dict.fromkeys(key for f in found for key in f.case.varied)
    metrics = dict.fromkeys(key for f in found for key in f.result["metrics"])
    return [
        {
            "case": f.case.name,
            "method": f.case.method,
            "seed": f.case.seed,
            **{key: _cell(f.case.varied.get(key)) for key in varied},
            "seconds": f.result["seconds"],
            "directory": str(f.case.directory),
            **{key: f.result["metrics"].get(key) for key in metrics},
        }
        for f in found
    ]


def _cell(value: Any) -> Any:
    """Return a value as one cell holds it."""
    return ",".join(map(str, value)) if isinstance(value, list) else value


def to_csv(found: Rows) -> str:
    """Return rows as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return out.getvalue()


def to_parquet(found: Rows) -> bytes:
    """Return rows as Parquet; a column of several kinds of values is text. Needs pyarrow."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as e:
        raise KdstError("Parquet needs pyarrow.\nInstall it: pip install pyarrow") from e
    columns = {name: _of_one_kind([row[name] for row in found]) for name in found[0]}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _of_one_kind(values: list[Any]) -> list[Any]:
    """Return values of one type: numbers as they are, a mixture as text."""
    kinds = {type(v) for v in values if v is not None}
    if len(kinds) <= 1:
        return values
    if kinds <= {int, float}:
        return [None if v is None else float(v) for v in values]
    return [None if v is None else str(v) for v in values]


def columns(found: Sequence[Finished]) -> list[Column]:
    """Return the columns that every result of one capability has, as its bench names them."""
    bench = registry.load_bench(found[0].capability)
    return table.columns(
        contenders(found, lambda case: case.label), bench if hasattr(bench, "comparison") else None
    )


def over_seeds(found: Sequence[Finished], wanted: Sequence[Column]) -> list[table.Row]:
    """Return a row for each method and combination: means over seeds with their intervals."""
    return table.rows(contenders(found, lambda case: case.row), wanted, None)


def by_capability(found: Sequence[Finished]) -> dict[str, list[Finished]]:
    """Return results by capability, in order."""
    groups: dict[str, list[Finished]] = {}
    for one in found:
        groups.setdefault(one.capability, []).append(one)
    return groups


def to_latex(found: Sequence[Finished]) -> str:
    """Return a booktabs table for each capability."""
    parts = []
    for group in by_capability(found).values():
        wanted = [c for c in columns(group) if c.short]
        parts.append(table.to_latex({"": over_seeds(group, wanted)}, wanted))
    return "\n".join(parts)


def write(directory: Path, found: Sequence[Finished]) -> tuple[list[Path], list[str]]:
    """Write the tables of a sweep; return their paths, and what could not be written and why."""
    everything = rows(found)
    write_atomically(directory / CSV, to_csv(everything))
    write_atomically(directory / LATEX, to_latex(found))
    paths, notes = [directory / CSV, directory / LATEX], []
    try:
        write_atomically(directory / PARQUET, to_parquet(everything))
        paths.append(directory / PARQUET)
    except KdstError as e:
        notes.append(str(e))
    return paths, notes
