"""`kdst compare` and `kdst_batch.compare.compare`: several methods under one protocol, in one table."""

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from kdst_batch import selection, table
from kdst_batch.carry_out import Attempt, carry_out
from kdst_batch.comparable import Comparable, Contender
from kdst_batch.entrants import entrants
from kdst_batch.executors import BUILT_IN
from kdst_batch.executors.named import make
from kdst_batch.pages.compare import Comparison as Comparison
from kdst_batch.pages.compare import head, page_content
from kdst_batch.plan import Case, of_comparison, one_a_directory, sharing_first
from kdst_batch.results import Finished, contenders, finished, warnings
from kdst_core.bench.contract import Bench
from kdst_core.errors import KdstError, MethodError
from kdst_core.files import write_atomically
from kdst_core.options import Given
from kdst_core.progress import Mode, progress
from kdst_core.reports import report
from kdst_core.runs.received import misfit

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
    select: bool = False,
    **options: Any,
) -> Comparison:
    """Compare methods and return their table.

    methods: as `kdst compare` takes them, such as `tea` or `tea:profile=fast`. options: as for
    `kdst_core.run`; each goes to the methods that have it, and an input given as a list of several
    values varies. executor, address: where the runs are carried out. select: also say which of a method's
    settings label-free criteria choose. Raises KdstError for bad input.
    """
    here = Path.cwd()
    given = {
        "--" + name.replace("_", "-"): [
            Given(v, name, here) for v in (value if isinstance(value, list) else [value])
        ]
        for name, value in options.items()
    }
    return carry(
        methods, given, out, Path(runs), seeds, jobs, config, show, executor, address, select
    )


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
    select: bool = False,
) -> Comparison:
    """Plan, carry out what is missing, and write table, report and result.

    Raises MethodError when no method has a result.
    """
    everyone = entrants(methods)
    command = command_line(methods, given, seeds, select)
    if select:
        labels = [who.label for who in everyone]
        given = selection.with_criteria(everyone[0].setup.bench, given, labels)
    cases = of_comparison(everyone, given, seeds, runs, Path(config) if config else None)
    directory = Path(out) if out is not None else default_directory(runs)
    refuse_other_files(directory)
    died = _carry_out(one_a_directory(cases), jobs, show, executor, address)
    try:
        return write(cases, directory, command, died, select)
    except (KdstError, OSError):
        raise
    except Exception as e:
        sent = [str(who.run) for who in everyone if who.run is not None]
        if not sent:
            raise
        raise misfit(" or ".join(sent), e) from e


def _carry_out(
    cases: Sequence[Case], jobs: int, show: Mode, executor: str, address: str
) -> dict[Path, str]:
    """Carry out every case that has no result yet, `jobs` at a time.

    Returns in a line why a run has no result, by its directory: its process died, by a native crash or
    for want of memory, or its method failed; the others went on. Raises KdstError of the first run whose
    input is bad; those under way are stopped.
    """
    missing = sharing_first([case for case in cases if not case.is_done])
    workers = make(executor, min(jobs, len(missing)), address)
    lost: dict[Path, str] = {}
    if not missing:
        return lost

    def ended(attempt: Attempt) -> None:
        case, end = attempt.case, attempt.end
        if end.error and not end.again:
            raise KdstError(f"{case.method} (seed {case.seed}): {end.error}")
        if end.error:
            lost[case.directory] = f"seed {case.seed}: {end.line}"
        advance(1)

    with progress(len(missing), "runs", show) as advance, closing(workers):
        carry_out(missing, workers, ended)
    return lost


def lost_methods(cases: Sequence[Case], died: Mapping[Path, str]) -> dict[tuple[str, str], str]:
    """Return why a method has no result, by the inputs that vary and its label.

    One that lost a single seed is left out whole: the others' intervals are over all seeds.
    """
    lost = {(c.variant, c.method): died[c.directory] for c in cases if c.directory in died}
    if len(lost) == len({(c.variant, c.method) for c in cases}):
        lines = (f"{label}: {reason}" for (_, label), reason in lost.items())
        raise MethodError("no method has a result\n" + "\n".join(dict.fromkeys(lines)))
    return lost


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
    planned: Sequence[Case],
    directory: Path,
    command: str,
    died: Mapping[Path, str],
    select: bool = False,
) -> Comparison:
    """Write table, report and result of a comparison; died: why runs that are missing have no result."""
    lost = lost_methods(planned, died)
    cases = [c for c in planned if (c.variant, c.method) not in lost]
    done = finished(cases)
    bench: Bench = cases[0].entrant.setup.bench
    comparable: Comparable | None = bench if hasattr(bench, "comparison") else None  # type: ignore[assignment]
    groups = by_variant(done)
    everyone = [who for group in groups.values() for who in group]
    if comparable is not None:
        refuse_other_protocol(groups, comparable)
    columns = table.columns(everyone, comparable)
    if not columns:
        raise KdstError("the results have no metric in common")
    rows = {v: table.rows(group, columns, comparable) for v, group in groups.items()}
    for (variant, who), reason in lost.items():
        rows.setdefault(variant, []).append(table.without_result(who, reason, columns))
    names = {" ".join(filter(None, who[::-1])): why for who, why in lost.items()}
    lines = [f"{name} has no result: {why}" for name, why in names.items()]
    said = [*lines, *warnings(done)]
    chosen = {}
    if select and isinstance(bench, selection.Selecting):
        criteria = bench.criteria()
        chosen = {v: selection.choices(who, columns[0], criteria) for v, who in groups.items()}
    comparison = Comparison(directory, columns, rows, said, comparable is not None, lines, chosen)
    content = page_content(comparison, groups, comparable)
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / CSV, table.to_csv(rows, columns))
    write_atomically(directory / LATEX, table.to_latex(rows, columns))
    if chosen:
        write_atomically(directory / selection.CSV, selection.to_csv(chosen, columns[0]))
    page = report.page(head(done, command, said), content, "kdst compare", "Comparison")
    write_atomically(comparison.report, page)
    result = {
        "command": command,
        "runs": {str(c.directory): label(c) for c in cases},
        "lost": names,
    }
    write_atomically(directory / COMPARISON, json.dumps(result, indent=2) + "\n")
    return comparison


def label(case: Case) -> str:
    """Return what a run is called: method, inputs that vary, seed."""
    return " ".join(filter(None, (case.method, case.variant, f"seed {case.seed}")))


def by_variant(done: Sequence[Finished]) -> dict[str, list[Contender]]:
    """Return the results of every method, by the inputs that vary."""
    names = dict.fromkeys(f.case.variant for f in done)
    return {
        name: contenders([f for f in done if f.case.variant == name], lambda case: case.method)
        for name in names
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


def command_line(
    methods: Sequence[str],
    given: Mapping[str, Sequence[Given]],
    seeds: Sequence[int],
    select: bool = False,
) -> str:
    """Return the shell command that repeats a comparison."""
    words = ["kdst", "compare", *methods]
    for flag, values in given.items():
        for one in values:
            if isinstance(one.value, bool):
                words.append(flag if one.value else "--no-" + flag[2:])
            else:
                words += [flag, str(one.value)]
    words += ["--seeds", ",".join(map(str, seeds)), *(["--select"] if select else [])]
    return shlex.join(words)
