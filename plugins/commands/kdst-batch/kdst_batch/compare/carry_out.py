"""Runs the cells of a comparison: those that exist are reused, unfinished ones continued."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from kdst_batch.compare import worker
from kdst_batch.compare.plan import Cell
from kdst_batch.compare.worker import End
from kdst_batch.executors import BUILT_IN, Executor, make
from kdst_core.errors import KdstError, MethodError
from kdst_core.progress import Mode, progress
from kdst_core.runs.rundir import RESULT


def carry_out(
    cells: Sequence[Cell], jobs: int, show: Mode, executor: str = BUILT_IN, address: str = ""
) -> dict[Path, str]:
    """Carry out every cell that has no result yet, `jobs` at a time, each in a process of its own.

    A run's directory and checkpoints are its own, so a comparison that was stopped continues when it
    is called again. Returns in a line why a run has no result, by its directory: its process died, by
    a native crash or for want of memory, or its method failed; the others went on. Raises KdstError
    of the first run whose input is bad; those under way are stopped.
    """
    missing = [cell for cell in cells if not (cell.directory / RESULT).exists()]
    workers = make(executor, min(jobs, len(missing)), address)
    if not missing:
        return {}
    lost: dict[Path, str] = {}
    with progress(len(missing), "runs", show) as advance, closing(workers):
        for cell, end in _ends(missing, workers):
            if end.error and not end.again:
                raise KdstError(f"{cell.label} (seed {cell.seed}): {end.error}")
            if end.error:
                lost[cell.directory] = f"seed {cell.seed}: {end.line}"
            advance(1)
    return lost


def _ends(cells: Sequence[Cell], executor: Executor) -> Iterator[tuple[Cell, End]]:
    """Carry out cells in workers; yield each with how it ended."""
    messages = [worker.message(c.chosen, c.given, c.directory) for c in cells]
    with closing(executor.map_jobs(worker.run, messages)) as calls:
        for done in calls:
            yield cells[done.index], End(done.error, again=True) if done.error else done.value


def lost_methods(cells: Sequence[Cell], died: Mapping[Path, str]) -> dict[tuple[str, str], str]:
    """Return why a method has no result, by the inputs that vary and its label.

    One that lost a single seed is left out whole: the others' intervals are over all seeds.
    """
    found = {(c.variant, c.label): died[c.directory] for c in cells if c.directory in died}
    if len(found) == len({(c.variant, c.label) for c in cells}):
        said = (f"{label}: {reason}" for (_, label), reason in found.items())
        raise MethodError("no method has a result\n" + "\n".join(dict.fromkeys(said)))
    return found
