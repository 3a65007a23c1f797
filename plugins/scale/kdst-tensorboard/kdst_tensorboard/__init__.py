"""TensorBoard: what a run logs, and the metrics of its result."""

from kdst_core import hookimpl
from kdst_core.contracts import Listener, RunServices


@hookimpl
def observe(run: RunServices) -> Listener:
    """Return what writes a run's events for TensorBoard."""
    from kdst_tensorboard.writer import Writer

    return Writer(run.dir)
