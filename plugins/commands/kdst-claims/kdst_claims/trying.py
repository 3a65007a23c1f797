"""`kdst claims` and `kdst_claims.trying.try_claims`: runs carried out, claims judged, pages written."""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from attrs import frozen

from kdst_batch.carry_out import Attempt, carry_out
from kdst_batch.executors import BUILT_IN, Executor
from kdst_batch.executors.named import make
from kdst_batch.plan import Case, one_a_directory
from kdst_claims import page
from kdst_claims.badge import badge
from kdst_claims.plan import Size, Trial, chosen, command_line, everything, trials
from kdst_claims.verdicts import Verdict, counts, judge, to_json
from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_core.options import Given
from kdst_core.progress import Mode, progress
from kdst_core.runs.rundir import REPORT

VERDICTS, BADGE = "claims.json", "badge.svg"
Told = Callable[[Case], None]


@frozen
class Tried:
    """Claims that were tried: a verdict each, and the directory of JSON, page and badge.

    notes: methods that could not be loaded.
    """

    directory: Path
    verdicts: Sequence[Verdict]
    notes: Sequence[str] = ()

    @property
    def report(self) -> Path:
        """The page."""
        return self.directory / REPORT


def try_claims(
    words: Sequence[str] = (),
    *,
    size: Size = "quick",
    given: Mapping[str, Given] | None = None,
    out: str | Path | None = None,
    runs: str | Path = "runs",
    jobs: int = 1,
    executor: str = BUILT_IN,
    address: str = "",
    show: Mode = "quiet",
) -> Tried:
    """Try claims and return their verdicts; finished runs are used again, stopped ones continued.

    words: `METHOD` or `METHOD.CLAIM`; none for every claim of every method. size: which of a claim's
    settings. given: options for every run that has them, by flag. Raises KdstError for bad input.
    """
    claims, notes = (chosen(words), []) if words else everything()
    if not claims:
        raise KdstError("no installed method has claims")
    options = given or {}
    planned = trials(claims, size, options, Path(runs))
    directory = Path(out) if out is not None else default_directory(Path(runs))
    refuse_other_files(directory)
    cases = one_a_directory([case for trial in planned for case in trial.cases])
    missing = sum(not case.is_done for case in cases)
    lost: Mapping[Path, str] = {}
    if missing:
        with (
            closing(make(executor, min(jobs, missing), address)) as workers,
            progress(missing, "runs", show) as advance,
        ):
            lost = carry(cases, workers, lambda _: advance(1))
    commands = [command_line(trial.name, size, options) for trial in planned]
    verdicts = judge(planned, commands, lost)
    return write(Tried(directory, verdicts, notes), planned, whole(words, size, options), size)


def carry(cases: Sequence[Case], workers: Executor, told: Told) -> dict[Path, str]:
    """Carry out every case that has no result; return why those without one have none, in a line.

    A claim whose run fails has no result, and the others go on.
    """
    lost: dict[Path, str] = {}

    def ended(attempt: Attempt) -> None:
        if attempt.end.error:
            case = attempt.case
            lost[case.directory] = f"{case.method} (seed {case.seed}): {attempt.end.line}"
        told(attempt.case)

    carry_out(cases, workers, ended)
    return lost


def whole(words: Sequence[str], size: Size, given: Mapping[str, Given]) -> str:
    """Return the shell command that repeats everything."""
    start, options = shlex.join(["kdst", "claims", *words]), command_line("-", size, given)
    return start + options.removeprefix("kdst claims -")


def default_directory(runs: Path) -> Path:
    """Return a new directory for what is written of claims."""
    stem = f"claims-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (stem if n == 1 else f"{stem}-{n}" for n in range(1, 1000))
    return next(p for p in (runs / name for name in names) if not p.exists())


def refuse_other_files(directory: Path) -> None:
    """Raise KdstError when a directory holds something else than verdicts on claims."""
    if directory.is_file():
        raise KdstError(f"{directory} is a file; give --out a directory")
    if directory.is_dir() and any(directory.iterdir()) and not (directory / VERDICTS).exists():
        raise KdstError(f"{directory} holds other files; give --out a new or empty directory")


def write(tried: Tried, planned: Sequence[Trial], command: str, size: Size) -> Tried:
    """Write verdicts, page and badge; an error of the disk becomes one line."""
    directory = tried.directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(directory / VERDICTS, to_json(tried.verdicts, command, size))
        write_atomically(directory / BADGE, badge(counts(tried.verdicts)))
        write_atomically(tried.report, page.html(tried.verdicts, planned, command, size))
    except OSError as e:
        raise KdstError(f"cannot write to {directory}: {e.strerror or e}") from e
    return tried
