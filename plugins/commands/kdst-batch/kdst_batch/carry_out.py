"""Carries out cases that have no result yet, and those that fail again where that may help."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from attrs import frozen

from kdst_batch import worker
from kdst_batch.executors import ONE_CPU, Executor, Resources
from kdst_batch.plan import Case
from kdst_batch.worker import End


@frozen
class Attempt:
    """How an attempt at a case ended. number: from 1 on. repeated: whether another one follows."""

    case: Case
    end: End
    number: int
    repeated: bool


def carry_out(
    cases: Sequence[Case],
    workers: Executor,
    ended: Callable[[Attempt], None],
    *,
    retries: int = 0,
    resources: Resources = ONE_CPU,
    marks: Path | None = None,
) -> None:
    """Carry out every case that has no result, each in a process of its own.

    A run's directory and checkpoints are its own, so what was stopped continues when this is called
    again. ended: is called after each attempt; what it raises stops those under way. retries: of a case
    that fails for another reason than bad input. marks: a folder in which a file lies beside each case
    while it runs.
    """
    open_cases: Sequence[Case] = [case for case in cases if not case.is_done]
    for number in range(1, retries + 2):
        if not open_cases:
            return
        again = []
        messages = [worker.message(case, marks) for case in open_cases]
        with closing(workers.map_jobs(worker.run, messages, resources)) as calls:
            for done in calls:
                case = open_cases[done.index]
                end = done.value if not done.error else End(done.error, again=True)
                repeated = bool(end.error) and end.again and number <= retries
                ended(Attempt(case, end, number, repeated))
                if repeated:
                    again.append(case)
        open_cases = again
