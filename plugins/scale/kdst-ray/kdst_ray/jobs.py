"""Independent jobs as Ray tasks."""

import traceback
from collections.abc import Sequence
from typing import Any

import ray

from kdst_batch.executors import DEATHS, Done, Ends, Resources, Work
from kdst_batch.executors.processes import last_lines


def map_jobs(function: Work, jobs: Sequence[Any], resources: Resources, width: int) -> Ends:
    """Yield the end of every job as it comes.

    At most `width` tasks are given to Ray at a time, so that looking for finished ones costs the same
    whether there are ten jobs or ten thousand.
    """
    task = ray.remote(
        num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=DEATHS, retry_exceptions=False
    )(_call)
    waiting = iter(enumerate(jobs))
    under_way: dict[Any, int] = {}
    try:
        while True:
            while len(under_way) < width and (job := next(waiting, None)) is not None:
                under_way[task.remote(function, job[1])] = job[0]
            if not under_way:
                return
            ready, _ = ray.wait(list(under_way), num_returns=1)
            for reference in ready:
                yield _end(under_way.pop(reference), reference)
    finally:
        for reference in under_way:
            ray.cancel(reference, force=True)


def _call(function: Work, job: Any) -> tuple[Any, str]:
    """Carry out one job in a Ray worker and return its result and the error that ended it."""
    try:
        return function(job), ""
    except Exception:
        return None, last_lines(traceback.format_exc())


def _end(index: int, reference: Any) -> Done:
    """Return how a task ended; one whose workers kept dying has an error."""
    try:
        value, error = ray.get(reference)
    except ray.exceptions.RayError as e:
        return Done(index, error=last_lines(f"the Ray worker was lost: {e}"))
    return Done(index, value, error)
