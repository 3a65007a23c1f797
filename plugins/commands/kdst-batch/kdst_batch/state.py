"""How far a sweep is, kept in files: any process that sees them can tell, whatever carries it out."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_batch.plan import Case
from kdst_batch.worker import MARK, End
from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_core.regular import regular

FOLDER = "cases"


@frozen
class Counts:
    """Numbers of cases by state, and the seconds that are left (None before the first has ended)."""

    queued: int
    running: int
    done: int
    failed: int
    left: float | None = None

    @property
    def total(self) -> int:
        """All cases."""
        return self.queued + self.running + self.done + self.failed


@frozen
class State:
    """The state of a sweep's cases, under its directory."""

    directory: Path
    cases: Sequence[Case]

    @property
    def folder(self) -> Path:
        """Where marks and failures lie."""
        return self.directory / FOLDER

    def begin(self) -> None:
        """Prepare the folder; marks of workers that an earlier session left are removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for mark in self.folder.glob(f"*{MARK}"):
            mark.unlink(missing_ok=True)

    def record(self, case: Case, end: End, attempts: int) -> None:
        """Remember how a case ended."""
        path = self._failure(case)
        if end.error:
            content = {"case": case.label, "attempts": attempts, "error": end.error}
            write_atomically(path, json.dumps(content, indent=2) + "\n")
        else:
            path.unlink(missing_ok=True)

    def _failure(self, case: Case) -> Path:
        return self.folder / f"{case.directory.name}.json"

    def failures(self) -> dict[str, dict[str, Any]]:
        """Return what is known of the cases that failed, by their names in tables."""
        failed = {}
        for case in self.cases:
            path = self._failure(case)
            if path.exists() and not case.is_done:
                failed[case.label] = _failure(path)
        return failed

    def running(self) -> dict[str, float]:
        """Return the cases that workers have, with seconds since they began."""
        by_name = {case.directory.name: case.label for case in self.cases}
        seconds = {}
        for mark in self.folder.glob(f"*{MARK}"):
            label = by_name.get(mark.name.removesuffix(MARK))
            if label is not None:
                seconds[label] = max(0.0, time.time() - _changed(mark))
        return seconds

    def counts(self) -> Counts:
        """Return how many cases are where; looks at every case."""
        done, failed, running = (
            sum(case.is_done for case in self.cases),
            len(self.failures()),
            len(self.running()),
        )
        queued = max(0, len(self.cases) - done - failed - running)
        return Counts(queued, running, done, failed)


def _failure(path: Path) -> dict[str, Any]:
    """Return what a file says of a case that failed; KdstError where it is none of a sweep."""
    try:
        said: dict[str, Any] = json.loads(regular(path))
        return {"error": str(said["error"]), "attempts": int(said["attempts"])}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as e:
        raise KdstError(f"{path} says of no case how it failed; remove it") from e


def _changed(path: Path) -> float:
    """Return when a file was changed, now for one that is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


class Progress:
    """What a session of a sweep has done so far, and from it the time that is left."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.started = time.monotonic()
        self.before = self.done = sum(case.is_done for case in state.cases)
        self.failed: set[str] = set()

    @property
    def open_cases(self) -> int:
        """Return how many cases have not ended for good."""
        return len(self.state.cases) - self.done - len(self.failed)

    def counts(self) -> Counts:
        """Return the numbers of now; only marks are looked up, so it is cheap."""
        left = self.open_cases
        running = min(len(self.state.running()), left)
        return Counts(left - running, running, self.done, len(self.failed), self._left(left))

    def _left(self, open_cases: int) -> float | None:
        """Return the seconds that are left at the rate so far."""
        ended = self.done - self.before + len(self.failed)
        return (time.monotonic() - self.started) / ended * open_cases if ended else None

    def add(self, case: Case, *, failed: bool) -> None:
        """Count one case that ended for good."""
        if failed:
            self.failed.add(case.label)
        else:
            self.done += 1
