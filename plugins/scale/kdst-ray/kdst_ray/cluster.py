"""The connection to Ray: a small quiet cluster on this machine, or one that runs already."""

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray

from kdst_batch.executors.processes import THREAD_VARIABLES, threads_each
from kdst_core.errors import KdstError, first_line

OBJECT_STORE = 128 * 2**20
"""Bytes of shared memory of a local cluster: runs and parts are files, only their names are sent."""
PATIENCE = 10.0
"""Seconds in which a cluster must answer."""
LOCAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",
}
"""Of a local cluster: its workers have the priority of the command, where Ray's own choice is 15 below
it, which leaves them nothing on a machine with other work."""


def connect(workers: int, address: str) -> None:
    """Reach the cluster at an address, or start one of `workers` CPUs here.

    Workers of a local cluster compute on as many threads as those of the built-in executor, so that
    results are the same; elsewhere Ray gives each as many as it has CPUs. Raises KdstError when the
    cluster does not answer.
    """
    if ray.is_initialized():
        return
    if address:
        _require_answer(address)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            return
        threads = dict.fromkeys(THREAD_VARIABLES, str(threads_each(workers)))
        with environment({**LOCAL, **threads}):
            ray.init(
                num_cpus=workers,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except Exception as e:  # Ray raises plain Exception where its node does not start in time
        first = first_line(e)
        place = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
        raise KdstError(f"cannot reach {place}: {first}\nSee: ray status") from e


def _require_answer(address: str) -> None:
    """Raise KdstError where nothing listens at host:port; Ray ends the whole process after minutes."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as e:
        raise KdstError(
            f"cannot reach the Ray cluster at {address}: {e}\n"
            "Give the address that `ray start --head` printed, host:port"
        ) from e


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables while processes are started that inherit them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def width(workers: int, address: str) -> int:
    """Return how many jobs may wait or run at once: all that fits, and some to follow."""
    cpus = int(ray.cluster_resources().get("CPU", workers)) if address else workers
    return max(8, 4 * cpus)


def leave() -> None:
    """Disconnect; a cluster that this process started ends."""
    ray.shutdown()
