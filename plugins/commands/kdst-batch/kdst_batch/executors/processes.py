"""The built-in executor: worker processes on this machine, which end when this process does."""

import multiprocessing
import os
import queue
import re
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from multiprocessing.connection import Connection
from typing import Any

from kdst_batch.executors import ONE_CPU, Done, Ends, Resources, Work
from kdst_core.memory import left

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
GROWTH = "LOKY_MAX_MEMORY_LEAK_SIZE"
"""By how many bytes a worker may grow after its first job before loky takes it for leaking."""
TRIES = 2
"""Workers that a job gets: on one machine a second death is most likely the job's own doing."""
LINES = 12
"""Lines kept of a traceback."""

Shards = Iterator[tuple[int, Any]]


class Processes:
    """Executor with `workers` processes, among which the CPUs are shared out."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map_jobs(self, function: Work, jobs: Sequence[Any], resources: Resources = ONE_CPU) -> Ends:
        """As in `Executor`; the number of workers alone says how many jobs run at once."""
        return self._map(partial(_same, function), jobs, min(self.workers, len(jobs)))

    def map_records(
        self, factory: Callable[[], Work], shards: Iterable[Any], resources: Resources = ONE_CPU
    ) -> Ends:
        """As in `Executor`; shards are taken from the stream when a worker is free."""
        return self._map(factory, shards, self.workers)

    def close(self) -> None:
        """Do nothing: workers live as long as a map."""

    def _map(self, factory: Callable[[], Work], shards: Iterable[Any], workers: int) -> Ends:
        """Feed every worker from one stream, and end all of them when the caller is done."""
        waiting, taking = enumerate(shards), threading.Lock()
        done: queue.SimpleQueue[Done | BaseException | None] = queue.SimpleQueue()
        listening, lifeline = multiprocessing.get_context("spawn").Pipe(duplex=False)
        variables = dict.fromkeys(THREAD_VARIABLES, str(threads_each(self.workers)))
        variables[GROWTH] = os.environ.get(GROWTH) or str(growth_each(workers))
        for _ in range(workers):
            slot = Slot(factory, variables, listening)
            feed = threading.Thread(target=_feed, args=(slot, waiting, taking, done), daemon=True)
            feed.start()
        try:
            running = workers
            while running:
                found = done.get()
                if isinstance(found, BaseException):
                    raise found
                if found is None:
                    running -= 1
                else:
                    yield found
        finally:
            lifeline.close()
            listening.close()


def threads_each(jobs: int) -> int:
    """Return the CPU threads of each of `jobs` processes, so that together they use every CPU once."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cpus // jobs)
    return min(share, int(allowed)) if allowed.isdigit() and int(allowed) else share


def growth_each(workers: int) -> int:
    """Return the bytes by which each worker may grow: its share of what is free.

    Runs differ in size, and a model that is kept for the next run is no leak. By its own limit, 300 MB,
    loky ends workers that are well, and warns in the terminal.
    """
    free = left()
    return 1 << 60 if free is None else max(free // max(workers, 1), 300_000_000)


class Slot:
    """One worker process, replaced when it dies.

    A pool of one worker each tells which job a death belongs to, and leaves the neighbours alone.
    """

    def __init__(
        self, factory: Callable[[], Work], variables: Mapping[str, str], lifeline: Connection
    ) -> None:
        self.factory = factory
        self.variables = variables
        self.lifeline = lifeline
        self.pool = self._start()

    def _start(self) -> Any:
        """Return a pool of one fresh process; it is started by its first call."""
        from loky import ProcessPoolExecutor
        from loky.backend import get_context

        return ProcessPoolExecutor(
            1,
            context=get_context("loky"),
            initializer=_begin,
            initargs=(self.lifeline, self.factory),
            env=dict(self.variables),
        )

    def call(self, index: int, shard: Any) -> Done:
        """Return how a call ended; a worker that dies is replaced a few times."""
        from loky import BrokenProcessPool

        how = ""
        for _ in range(TRIES):
            try:
                value, error = self.pool.submit(_work, shard).result()
                return Done(index, value, error)
            except BrokenProcessPool as e:
                self.pool, how = self._start(), _how_it_died(str(e))
        return Done(index, error=f"the worker process died {TRIES} times{how}")


def _how_it_died(message: str) -> str:
    """Return how loky says that a process ended, such as ' (SIGSEGV)', '' where it does not."""
    match = re.search(r"\{(SIG[A-Z]+)\(-\d+\)\}|\{EXIT\((\d+)\)\}", message)
    if match is None:
        return ""
    reason = match[1] or f"exit code {match[2]}"
    return f" ({reason}{', as when memory runs out' if reason == 'SIGKILL' else ''})"


def _feed(
    slot: Slot,
    waiting: Shards,
    taking: threading.Lock,
    done: "queue.SimpleQueue[Done | BaseException | None]",
) -> None:
    """Give a worker one shard after the other; None at the end, an exception of the stream as it is."""
    try:
        while True:
            with taking:
                index, shard = next(waiting)
            done.put(slot.call(index, shard))
    except StopIteration:
        slot.pool.shutdown()
        done.put(None)
    except BaseException as e:
        done.put(e)


FACTORY: list[Callable[[], Work]] = []
"""In a worker process: what makes its function."""


def _begin(lifeline: Connection, factory: Callable[[], Work]) -> None:
    """Prepare a worker process: it ends with its parent, and leaves Ctrl-C to it."""
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)  # what a method prints belongs beside the table, not in what the command answers
    FACTORY.append(factory)


def _end_with(lifeline: Connection) -> None:
    """End this process at once when the parent closed its end of a pipe or is no more."""
    try:
        lifeline.recv()
    except (EOFError, OSError):
        os._exit(1)


def _work(shard: Any) -> tuple[Any, str]:
    """Carry out one call in a worker process and return its result and the error that ended it."""
    try:
        return _made()(shard), ""
    except (
        BaseException
    ):  # what asks this process to end, such as sys.exit, is the call's error alone
        return None, last_lines(traceback.format_exc())


@cache
def _made() -> Work:
    """Return the function of this worker process, made by its first call."""
    return FACTORY[0]()


def last_lines(text: str) -> str:
    """Return the last lines of a text."""
    return "\n".join(text.strip().splitlines()[-LINES:])


def _same(function: Work) -> Work:
    """Return a function that needs no state."""
    return function
