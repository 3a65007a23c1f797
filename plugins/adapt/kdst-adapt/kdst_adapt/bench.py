"""The bench of `adapt`: the object that the entry point names; each of its methods forwards."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdst_adapt.inputs import AdaptInputs
from kdst_batch.comparable import Column, ComparedByModule
from kdst_core.bench.contract import Check, Job
from kdst_core.bench.library import Library
from kdst_core.plugins.method import Method
from kdst_core.reports.blocks import ReportContent
from kdst_core.runs.codecs import TorchCodec
from kdst_core.runs.rundir import Run

if TYPE_CHECKING:
    from kdst_adapt.outcome.result import Prepared


class AdaptBench(ComparedByModule):
    """The bench that the entry point `adapt` of the group `kdst.benches` names."""

    capability, package, inputs = "adapt", "kdst-adapt", AdaptInputs
    live = frozenset({"data", "model", "source"})
    codec = TorchCodec()
    shared = "--shared-baselines"
    selecting = ("--study", "selection")
    headline = (Column("accuracy.mean", "accuracy, %", 100.0),)

    def prepare(self, job: Job) -> "Prepared":
        """Load and check device, data, model and source data."""
        from kdst_adapt.load import load
        from kdst_adapt.outcome.result import Prepared

        return Prepared(load(job))

    def library(self) -> Library:
        """Return the function behind `kdst_core.load(METHOD)(…)`."""
        from kdst_adapt.library import adapted

        return Library(adapted)

    def report(self, result: Mapping[str, Any], directory: Path) -> ReportContent:
        """Build the report of a run."""
        from kdst_adapt.report import content

        return content(result, directory)

    def refuse(self, method: Method, inputs: AdaptInputs) -> None:
        """Raise KdstError, before anything is loaded, for inputs that a method cannot run on."""
        from kdst_adapt.asked import refuse

        refuse(method, inputs)

    def criteria(self) -> Sequence[Column]:
        """Return the label-free criteria that runs have which are made for `kdst compare --select`."""
        from kdst_adapt.studies.selection import CRITERIA

        return CRITERIA

    def smoke(self, method: Method, options: Any, run: Run) -> str:
        """Adapt a small random network to three random batches; return a digest of the logits."""
        from kdst_adapt.checks import smoke

        return smoke(method, options, run)

    def checks(self, method: Method) -> Iterator[Check]:
        """Yield the checks of an adaptation method."""
        from kdst_adapt.checks import adapt_checks

        return adapt_checks(method)


bench = AdaptBench()
