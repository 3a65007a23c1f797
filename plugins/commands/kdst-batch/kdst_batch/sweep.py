"""`kdst sweep` and `kdst_batch.sweep.sweep`: many runs, planned in a file, carried out anywhere."""

import shlex
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_batch import results
from kdst_batch.carry_out import Attempt, carry_out
from kdst_batch.display import display
from kdst_batch.executors import BUILT_IN, ONE_CPU, Resources
from kdst_batch.executors.named import make
from kdst_batch.file import read
from kdst_batch.pages import sweep as page
from kdst_batch.plan import of_file
from kdst_batch.state import FOLDER, Counts, Progress, State
from kdst_core.errors import KdstError
from kdst_core.files import LOCK, claim, give_back
from kdst_core.progress import Mode
from kdst_core.runs.rundir import slug


@frozen
class Sweep:
    """A sweep as far as it is: counts, failures by case, tables and report (None before any result)."""

    directory: Path
    counts: Counts
    failures: Mapping[str, Mapping[str, Any]]
    tables: tuple[Path, ...]
    report: Path | None
    notes: tuple[str, ...]


def plan(file: str | Path, out: str | Path | None, runs: str | Path) -> State:
    """Return the cases of a file and their state; nothing is run or written.

    Raises KdstError for bad input, and for a directory that holds something else.
    """
    path = Path(file)
    content = read(path)
    directory = Path(out) if out is not None else Path(runs) / f"sweep-{slug(path.stem)}"
    ours = (FOLDER, LOCK)
    if directory.is_file():
        raise KdstError(f"{directory} is a file; give --out a directory")
    if directory.is_dir():
        names = {p.name for p in directory.iterdir()}
        if names and not names.intersection(ours):
            raise KdstError(f"{directory} holds other files; give --out a new or empty directory")
    return State(directory, of_file(content, Path(runs)))


def sweep(
    file: str | Path,
    *,
    out: str | Path | None = None,
    runs: str | Path = "runs",
    jobs: int = 1,
    executor: str = BUILT_IN,
    address: str = "",
    retries: int = 2,
    resources: Resources = ONE_CPU,
    show: Mode = "quiet",
) -> Sweep:
    """Carry out what is missing of a sweep, collect its results and write its report.

    file: TOML, as docs/sweep.md describes it. jobs: cases side by side. retries: of a case that
    fails for another reason than bad input. resources: of one case, for executors with a cluster.
    """
    state = plan(file, out, runs)
    lock = _claim(state.directory)
    try:
        progress = Progress(state)
        with closing(make(executor, jobs, address)) as workers, display(progress, show) as told:

            def ended(attempt: Attempt) -> None:
                state.record(attempt.case, attempt.end, attempt.number)
                if not attempt.repeated:
                    progress.add(attempt.case, failed=bool(attempt.end.error))
                told()

            state.begin()
            carry_out(
                state.cases,
                workers,
                ended,
                retries=retries,
                resources=resources,
                marks=state.folder,
            )
        return gather(state, file, out, runs)
    finally:
        give_back(lock)


def _claim(directory: Path) -> Any:
    """Take the directory of a sweep; an error of the disk becomes one line."""
    try:
        (directory / FOLDER).mkdir(parents=True, exist_ok=True)
        return claim(directory)
    except OSError as e:
        raise KdstError(f"cannot write to {directory}: {e.strerror}") from e


def gather(state: State, file: str | Path, out: str | Path | None, runs: str | Path) -> Sweep:
    """Return a sweep as far as it is, with tables and report of the cases that are done."""
    finished = results.finished(state.cases)
    tables, notes = results.write(state.directory, finished) if finished else ([], [])
    report = page.write(state, finished, command_line(file, out, runs)) if finished else None
    counts, failures = state.counts(), state.failures()
    return Sweep(state.directory, counts, failures, tuple(tables), report, tuple(notes))


def command_line(file: str | Path, out: str | Path | None, runs: str | Path) -> str:
    """Return the shell command that repeats a sweep."""
    words = ["kdst", "sweep", str(file)]
    words += ["--out", str(out)] if out is not None else []
    words += ["--runs", str(runs)] if str(runs) != "runs" else []
    return shlex.join(words)
