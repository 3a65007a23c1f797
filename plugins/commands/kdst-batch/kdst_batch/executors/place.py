"""Where a run's records are worked on: options of a bench, and what a worker has in place of a run."""

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_batch.executors import BUILT_IN, Executor, Resources
from kdst_batch.executors.named import make
from kdst_batch.executors.records import Shard, Worker, run_records
from kdst_core.options import option
from kdst_core.progress import Advance


def executor() -> Any:
    """Return the option `--executor`."""
    return option(
        BUILT_IN,
        f"Where records are worked on: {BUILT_IN}, of this machine, or ray (kdst-ray). The results are"
        " the same.",
        where=True,
    )


def jobs(otherwise: str = "") -> Any:
    """Return the option `--jobs`: 1, or None where the bench chooses; `otherwise` says how."""
    said = f" Default: {otherwise}." if otherwise else ""
    text = f"Workers; with 1 and without another executor, this process.{said}"
    return option(None if otherwise else 1, text, min=1, where=True)


def address() -> Any:
    """Return the option `--address`."""
    return option("", "Of a cluster that runs. Default: a local one.", where=True)


def gpus_each() -> Any:
    """Return the option `--gpus-each`."""
    return option(0.0, "GPUs of a worker on a cluster; 0.25 lets 4 share one.", min=0, where=True)


@frozen
class Place:
    """Workers elsewhere, and what each of them takes."""

    name: str
    jobs: int
    address: str
    resources: Resources

    def make(self) -> Executor:
        """Return the executor; KdstError for one that is not installed."""
        return make(self.name, self.jobs, self.address)


def distribute(
    place: Place,
    factory: Callable[[], Worker],
    shards: Iterable[Shard],
    directory: Path,
    *,
    identity: str,
    advance: Advance,
) -> None:
    """Have every shard worked on at a place; arguments and errors are those of `run_records`."""
    how: Any = {"identity": identity, "resources": place.resources, "advance": advance}
    with closing(place.make()) as executor:
        run_records(executor, factory, shards, directory, **how)


def place(inputs: Any) -> Place | None:
    """Return where the options of a bench send its records, None for this process.

    Raises KdstError for an executor that is not installed, with what to install.
    """
    workers = inputs.jobs or 1
    if inputs.executor == BUILT_IN and workers == 1 and not inputs.address:
        return None
    resources = Resources(gpus=inputs.gpus_each)
    found = Place(inputs.executor, workers, inputs.address, resources)
    found.make()
    return found


def here(most: int) -> Place | None:
    """Return workers on this machine's CPUs, one for each that this process may use, at most `most`.

    None where it may use one, as in a worker.
    """
    from kdst_batch.executors.processes import threads_each

    workers = min(threads_each(1), most)
    return Place(BUILT_IN, workers, "", Resources()) if workers > 1 else None
