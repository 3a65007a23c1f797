"""Carries out the cases of a sweep: finished ones are skipped, failed ones tried again."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing

from kdst_batch.compare.worker import End
from kdst_batch.executors import Executor, Resources
from kdst_batch.sweep.plan import Case
from kdst_batch.sweep.state import Counts, State, attempt


class Progress:
    """What a session of a sweep has done so far, and from it the time that is left."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.started = time.monotonic()
        self.before = self.done = sum(map(state.is_done, state.cases))
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


def carry_out(
    state: State,
    executor: Executor,
    resources: Resources,
    retries: int,
    progress: Progress,
    told: Callable[[], None],
) -> None:
    """Carry out every case that has no result, and those that fail up to `retries` times again.

    What bad input ended is not tried again. told: is called after each end of a case.
    """
    state.begin()
    todo: Sequence[Case] = [case for case in state.cases if not state.is_done(case)]
    for number in range(1, retries + 2):
        if not todo:
            return
        again = []
        messages = [state.message(case) for case in todo]
        with closing(executor.map_jobs(attempt, messages, resources)) as calls:
            for done in calls:
                case = todo[done.index]
                end = done.value if not done.error else End(done.error, again=True)
                state.record(case, end, number)
                if end.error and end.again and number <= retries:
                    again.append(case)
                else:
                    progress.add(case, failed=bool(end.error))
                told()
        todo = again
