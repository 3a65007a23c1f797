"""`kdst compare` and `kdst_batch.compare.compare`: several methods under one protocol, in one table."""

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdst_batch.compare import plan, table
from kdst_batch.compare.carry_out import carry_out, lost_methods
from kdst_batch.compare.page import Comparison as Comparison
from kdst_batch.compare.page import heading, page_content
from kdst_batch.executors import BUILT_IN
from kdst_core.bench.compare import Comparable, Contender
from kdst_core.bench.contract import Bench
from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_core.options import Given
from kdst_core.progress import Mode
from kdst_core.reports import report
from kdst_core.runs.received import misfit
from kdst_core.runs.result import load_result

COMPARISON, CSV, LATEX = "comparison.json", "table.csv", "table.tex"


def compare(
    methods: Sequence[str],
    *,
    out: str | Path | None = None,
    runs: str | Path = "runs",
    seeds: Sequence[int] = (0,),
    jobs: int = 1,
    config: str | Path | None = None,
    show: Mode = "quiet",
    executor: str = BUILT_IN,
    address: str = "",
    **options: Any,
) -> Comparison:
    """Compare methods and return their table.

    methods: as `kdst compare` takes them, such as `tea` or `tea:profile=fast`. options: as for
    `kdst_core.run`; each goes to the methods that have it, and an input given as a list of several
    values varies. executor, address: where the runs are carried out. Raises KdstError for bad input.
    """
    here = Path.cwd()
    given = {
        "--" + name.replace("_", "-"): [
            Given(v, name, here) for v in (value if isinstance(value, list) else [value])
        ]
        for name, value in options.items()
    }
    return carry(methods, given, out, Path(runs), seeds, jobs, config, show, executor, address)


def carry(
    methods: Sequence[str],
    given: Mapping[str, Sequence[Given]],
    out: str | Path | None,
    runs: Path,
    seeds: Sequence[int],
    jobs: int,
    config: str | Path | None,
    show: Mode,
    executor: str = BUILT_IN,
    address: str = "",
) -> Comparison:
    """Plan, carry out what is missing, and write table, report and result.

    Raises MethodError when no method has a result.
    """
    found = plan.contestants(methods)
    cells = plan.cells(found, given, seeds, runs, Path(config) if config else None)
    directory = Path(out) if out is not None else default_directory(runs)
    refuse_other_files(directory)
    died = carry_out(plan.without_duplicates(cells), jobs, show, executor, address)
    try:
        return write(cells, directory, command_line(methods, given, seeds), died)
    except (KdstError, OSError):
        raise
    except Exception as e:
        sent = [str(c.run) for c in found if c.run is not None]
        if not sent:
            raise
        raise misfit(" or ".join(sent), e) from e


def default_directory(runs: Path) -> Path:
    """Return a new directory for a comparison's table and report."""
    stem = f"compare-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (stem if n == 1 else f"{stem}-{n}" for n in range(1, 1000))
    return next(p for p in (runs / name for name in names) if not p.exists())


def refuse_other_files(directory: Path) -> None:
    """Raise KdstError when a directory holds something else than a comparison."""
    if directory.is_file():
        raise KdstError(f"{directory} is a file; give --out a directory")
    if directory.is_dir() and any(directory.iterdir()) and not (directory / COMPARISON).exists():
        raise KdstError(f"{directory} holds other files; give --out a new or empty directory")


def write(
    planned: Sequence[plan.Cell], directory: Path, command: str, died: Mapping[Path, str]
) -> Comparison:
    """Write table, report and result of a comparison; died: why runs that are missing have no result."""
    lost = lost_methods(planned, died)
    cells = [c for c in planned if (c.variant, c.label) not in lost]
    bench: Bench = cells[0].chosen.bench
    comparable: Comparable | None = bench if hasattr(bench, "comparison") else None  # type: ignore[assignment]
    groups = contenders(cells)
    everyone = [who for group in groups.values() for who in group]
    if comparable is not None:
        refuse_other_protocol(groups, comparable)
    columns = table.columns(everyone, comparable)
    if not columns:
        raise KdstError("the results have no metric in common")
    rows = {v: table.rows(group, columns, comparable) for v, group in groups.items()}
    for (variant, who), reason in lost.items():
        rows.setdefault(variant, []).append(table.without_result(who, reason, columns))
    lines = [
        f"{' '.join(filter(None, who[::-1]))} has no result: {why}" for who, why in lost.items()
    ]
    said = [*lines, *warnings(everyone)]
    found = Comparison(directory, columns, rows, said, comparable is not None, lines)
    content = page_content(found, groups, comparable)
    head = heading(cells, everyone[0].results[0], found, command)
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / CSV, table.to_csv(rows, columns))
    write_atomically(directory / LATEX, table.to_latex(rows, columns))
    write_atomically(found.report, report.page(head, content, "kdst compare", "Comparison"))
    result = {
        "command": command,
        "runs": {str(c.directory): label(c) for c in cells},
        "lost": {" ".join(filter(None, who[::-1])): why for who, why in lost.items()},
    }
    write_atomically(directory / COMPARISON, json.dumps(result, indent=2) + "\n")
    return found


def label(cell: plan.Cell) -> str:
    """Return what a run is called: method, inputs that vary, seed."""
    return " ".join(filter(None, (cell.label, cell.variant, f"seed {cell.seed}")))


def contenders(cells: Sequence[plan.Cell]) -> dict[str, list[Contender]]:
    """Return the results of every method, by the inputs that vary."""
    groups: dict[str, dict[str, list[plan.Cell]]] = {}
    for cell in cells:
        groups.setdefault(cell.variant, {}).setdefault(cell.label, []).append(cell)
    return {
        variant: [
            Contender(
                name,
                [load_result(c.directory).data for c in mine],
                [c.directory for c in mine],
            )
            for name, mine in group.items()
        ]
        for variant, group in groups.items()
    }


def refuse_other_protocol(groups: Mapping[str, Sequence[Contender]], bench: Comparable) -> None:
    """Raise KdstError when results that stand in one table were not measured alike."""
    for first, *others in groups.values():
        for who in [first, *others]:
            for result, place in zip(who.results, who.directories, strict=True):
                difference = bench.mismatch(first.results[0], result)
                if difference:
                    raise KdstError(
                        f"{first.directories[0]} and {place} cannot be compared: {difference}"
                    )


def warnings(everyone: Sequence[Contender]) -> list[str]:
    """Return the warnings of all runs, each once."""
    found = (w for who in everyone for r in who.results for w in r["warnings"])
    return list(dict.fromkeys(found))


def command_line(
    methods: Sequence[str], given: Mapping[str, Sequence[Given]], seeds: Sequence[int]
) -> str:
    """Return the shell command that repeats a comparison."""
    words = ["kdst", "compare", *methods]
    for flag, values in given.items():
        for one in values:
            if isinstance(one.value, bool):
                words.append(flag if one.value else "--no-" + flag[2:])
            else:
                words += [flag, str(one.value)]
    words += ["--seeds", ",".join(map(str, seeds))]
    return shlex.join(words)
