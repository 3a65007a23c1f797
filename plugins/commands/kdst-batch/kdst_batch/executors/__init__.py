"""Where independent jobs and shards of records are carried out: on this machine, or by a plugin.

An executor is found by name: `processes` is built in, others are entry points of the group
`kdst.executors`, whose value is a class that is called with (workers, address).
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Protocol

from attrs import field, frozen

BUILT_IN = "processes"
DEATHS = 3
"""How often a job of a cluster is given to another worker after the one that had it died."""

Work = Callable[[Any], Any]
"""What a worker does with one shard or job."""


@frozen
class Resources:
    """What one job takes: CPUs, and GPUs, of which it may take a fraction."""

    cpus: float = 1
    gpus: float = 0


ONE_CPU = Resources()


@frozen
class Done:
    """How one call ended: the position of its job, and what it returned or why there is nothing.

    error: empty on success, else the last lines of what went wrong.
    """

    index: int
    value: Any = field(default=None, repr=False)
    error: str = ""


Ends = Generator[Done, None, None]
"""Ends of calls as they come; closing it ends the workers."""


class Executor(Protocol):
    """Carries out calls in workers; both maps yield in order of completion and end their workers."""

    workers: int

    def map_jobs(self, function: Work, jobs: Sequence[Any], resources: Resources = ONE_CPU) -> Ends:
        """Yield the end of `function(job)` for every job; a job whose worker dies is done again."""

    def map_records(
        self, factory: Callable[[], Work], shards: Iterable[Any], resources: Resources = ONE_CPU
    ) -> Ends:
        """Yield the end of `work(shard)` for every shard, where each worker made its own
        `work = factory()` once; a shard whose worker dies is done again. Shards and what is returned
        are values that JSON holds."""

    def close(self) -> None:
        """Give back what the executor holds."""
