"""Runs the cells of a comparison: those that exist are reused, unfinished ones continued."""

from collections.abc import Iterator, Sequence
from contextlib import closing

from kdst_core import api
from kdst_core.compare import worker
from kdst_core.compare.plan import Cell
from kdst_core.errors import KdstError
from kdst_core.executors import BUILT_IN, Executor, make
from kdst_core.progress import Mode, progress
from kdst_core.rundir import CONFIG, RESULT


def carry_out(
    cells: Sequence[Cell], jobs: int, show: Mode, executor: str = BUILT_IN, address: str = ""
) -> None:
    """Carry out every cell that has no result yet, `jobs` at a time; a single one in this process.

    Each run has its own directory and checkpoints, so a comparison that was stopped continues when it
    is called again. Raises KdstError of the first run that fails; those under way are stopped.
    """
    missing = [cell for cell in cells if not (cell.directory / RESULT).exists()]
    if not missing:
        return
    with progress(len(missing), "runs", show) as advance:
        if executor == BUILT_IN and jobs == 1 and not address:
            for _ in _here(missing):
                advance(1)
            return
        with closing(make(executor, jobs, address)) as workers:
            for _ in _elsewhere(missing, workers):
                advance(1)


def _here(cells: Sequence[Cell]) -> Iterator[None]:
    """Carry out cells one after the other in this process."""
    for cell in cells:
        api.execute(
            cell.chosen,
            cell.given,
            {},
            out=cell.directory,
            resume=(cell.directory / CONFIG).exists(),
            config=None,
            show="quiet",
        )
        yield


def _elsewhere(cells: Sequence[Cell], executor: Executor) -> Iterator[None]:
    """Carry out cells in workers."""
    messages = [worker.message(c.chosen, c.given, c.directory) for c in cells]
    with closing(executor.map_jobs(worker.run, messages)) as calls:
        for done in calls:
            error = done.error or done.value.error
            if error:
                cell = cells[done.index]
                raise KdstError(f"{cell.label} (seed {cell.seed}): {error}")
            yield
