"""Ray: runs and record shards on a local cluster, or on one that is given by --address."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kdst_batch.executors import ONE_CPU, Ends, Resources, Work


class RayExecutor:
    """Executor on Ray, with so many workers; Ray is imported and reached by the first map."""

    def __init__(self, workers: int, address: str = "") -> None:
        self.workers = workers
        self.address = address

    def map_jobs(self, function: Work, jobs: Sequence[Any], resources: Resources = ONE_CPU) -> Ends:
        """As in `Executor`: a task a job, which waits until its CPUs and GPUs are free."""
        from kdst_ray import cluster
        from kdst_ray import jobs as tasks

        cluster.connect(self.workers, self.address)
        return tasks.map_jobs(function, jobs, resources, cluster.width(self.workers, self.address))

    def map_records(
        self, factory: Callable[[], Work], shards: Iterable[Any], resources: Resources = ONE_CPU
    ) -> Ends:
        """As in `Executor`: a Ray Data stream through `workers` actors."""
        from kdst_ray import cluster, records

        cluster.connect(self.workers, self.address)
        return records.map_records(factory, shards, resources, self.workers)

    def close(self) -> None:
        """Leave the cluster; a local one ends."""
        from kdst_ray import cluster

        cluster.leave()
