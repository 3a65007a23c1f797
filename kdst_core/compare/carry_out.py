"""Runs the cells of a comparison: those that exist are reused, unfinished ones continued."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kdst_core import api
from kdst_core.compare.plan import Cell
from kdst_core.errors import KdstError
from kdst_core.progress import Mode, progress
from kdst_core.rundir import CONFIG, RESULT

WORKER = "kdst_core.compare.worker"


def carry_out(cells: Sequence[Cell], jobs: int, show: Mode) -> None:
    """Carry out every cell that has no result yet, `jobs` at a time.

    Each run has its own directory and checkpoints, so a comparison that was stopped continues when it
    is called again. Raises KdstError of the first run that fails, after those under way have ended.
    """
    missing = [cell for cell in cells if not (cell.directory / RESULT).exists()]
    if not missing:
        return
    with progress(len(missing), "runs", show) as advance:
        for _ in _alone(missing) if jobs == 1 else _side_by_side(missing, jobs):
            advance(1)


def _alone(cells: Sequence[Cell]) -> Iterator[None]:
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


def threads_each(jobs: int) -> int:
    """Return the CPU threads of each of `jobs` processes, so that together they use every CPU once."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cpus // jobs)
    return min(share, int(allowed)) if allowed.isdigit() and int(allowed) else share


def _side_by_side(cells: Sequence[Cell], jobs: int) -> Iterator[None]:
    """Carry out cells in worker processes; they end when this process does, whatever ends it."""
    waiting: queue.SimpleQueue[Cell] = queue.SimpleQueue()
    for cell in cells:
        waiting.put(cell)
    done: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    workers = [_start(threads_each(jobs)) for _ in range(min(jobs, len(cells)))]
    threads = [
        threading.Thread(target=_feed, args=(w, waiting, done), daemon=True) for w in workers
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in cells:
            error = done.get()
            if error is not None:
                raise KdstError(error)
            yield
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _start(threads: int) -> "subprocess.Popen[str]":
    """Start a worker with its share of the CPUs."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", WORKER]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)


def _feed(
    worker: "subprocess.Popen[str]",
    waiting: "queue.SimpleQueue[Cell]",
    done: "queue.SimpleQueue[str | None]",
) -> None:
    """Give a worker one cell after the other and pass on what it answers."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    while True:
        try:
            cell = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            worker.stdin.write(json.dumps(message(cell)) + "\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            done.put(f"the process that ran {cell.label} (seed {cell.seed}) ended unexpectedly")
            return
        done.put(json.loads(answer)["error"])


def message(cell: Cell) -> dict[str, Any]:
    """Return a cell as plain values for a worker."""
    given = {
        flag: {"value": _plain(g.value), "origin": g.origin, "base_dir": str(g.base_dir)}
        for flag, g in cell.given.items()
    }
    name = cell.chosen.method.plugin.qualified
    return {"method": name, "given": given, "directory": str(cell.directory)}


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it."""
    return str(value) if isinstance(value, Path) else value
