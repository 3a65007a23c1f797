"""One run from its inputs to its outcome."""

from attrs import frozen

from kdst_core.bench.contract import Job, Outcome
from kdst_core.runs.rundir import Run
from kdst_edit.load import load_target
from kdst_edit.load.target import Target
from kdst_edit.loop import carry_out
from kdst_edit.outcome import outcome


@frozen
class Case:
    """A run whose target is loaded and checked."""

    target: Target

    @property
    def device(self) -> str:
        """Where it computes."""
        return self.target.device

    def execute(self, run: Run) -> Outcome:
        """Carry out the run, and measure what it made."""
        with self.target.working():
            return outcome(self.target, carry_out(self.target, run), run)


def prepare(job: Job) -> Case:
    """Load and validate everything; KdstError for bad input."""
    return Case(load_target(job))
