"""Executors by their names: the one that is built in, and those that packages add."""

from kdst_batch.executors import BUILT_IN, Executor
from kdst_core.errors import KdstError
from kdst_core.plugins import registry


def make(name: str, workers: int, address: str = "") -> Executor:
    """Return the executor of that name with so many workers.

    address: of a cluster, for executors that have one. Raises KdstError for a name that is not
    installed, with what to install.
    """
    if name != BUILT_IN:
        executor: Executor = registry.load_named("executor", name, BUILT_IN)(workers, address)
        return executor
    if address:
        raise KdstError("--address is of a cluster; give --executor ray with it")
    from kdst_batch.executors.processes import Processes

    return Processes(workers)
