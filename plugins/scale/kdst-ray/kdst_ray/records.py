"""Record shards through Ray Data: a stream of rows, and actors that keep what they need.

Rows hold JSON. The factory of the workers travels as the functions of all Ray tasks do: Ray
serialises it, between processes of one user's cluster.
"""

import json
import traceback
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import ray
import ray.data

from kdst_batch.executors import DEATHS, Done, Ends, Resources, Work
from kdst_batch.executors.processes import last_lines
from kdst_core.errors import MethodError

AT_ONCE = 16
"""Most shards that a task of an actor does: Ray Data spends some 50 ms on every task."""
TASKS_EACH = 8
"""Tasks of each worker at least, before a task does several shards, so that all end at about one time."""


class Actor:
    """One worker: its function is made once, and called on one shard after the other."""

    def __init__(self, factory: Callable[[], Work]) -> None:
        self.factory = factory
        self.work: Work | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Carry out the shards of a batch."""
        ends = [self._one(text) for text in batch["shard"]]
        return {"index": batch["index"], "end": np.array(ends, dtype=object)}

    def _one(self, text: str) -> str:
        """Return the result of one shard and the error that ended it."""
        try:
            if self.work is None:
                self.work = self.factory()
            return json.dumps([self.work(json.loads(text)), ""])
        except Exception:
            return json.dumps([None, last_lines(traceback.format_exc())])


def _retries() -> dict[str, Any]:
    """Return how often a shard is given to another actor; without it, Ray never gives up."""
    return {"max_task_retries": DEATHS}


def map_records(
    factory: Callable[[], Work], shards: Iterable[Any], resources: Resources, workers: int
) -> Ends:
    """Yield the ends of shards when their task ends.

    An actor that dies is started again, and the shards of its task are given to another; Ray Data does
    both.
    """
    rows = [{"index": n, "shard": json.dumps(s)} for n, s in enumerate(shards)]
    if not rows:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    together = max(1, min(AT_ONCE, len(rows) // (TASKS_EACH * workers)))
    blocks = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // together))
    with warnings.catch_warnings():  # Ray names no other way to limit retries yet
        warnings.simplefilter("ignore")
        data = blocks.map_batches(
            Actor,
            batch_size=1,
            fn_constructor_args=(factory,),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            ray_remote_args_fn=_retries,
        )
    try:
        for row in data.iter_rows():
            value, error = json.loads(row["end"])
            yield Done(int(row["index"]), value, error)
    except ray.exceptions.RayError as e:
        raise MethodError(f"Ray lost the worker of a shard again and again: {e}") from e
