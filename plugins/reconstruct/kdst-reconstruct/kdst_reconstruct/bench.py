"""The bench of `reconstruct`: it forwards what the core asks to the module that does it."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kdst_batch.comparable import Column, ComparedByModule
from kdst_core.bench.contract import Check, Job
from kdst_core.bench.library import Library
from kdst_core.plugins.method import Method
from kdst_core.reports.blocks import ReportContent
from kdst_core.runs.codecs import TorchCodec
from kdst_core.runs.rundir import Run
from kdst_reconstruct.inputs import ReconstructInputs, extends
from kdst_reconstruct.load import automatic, load, without_capture
from kdst_reconstruct.run import PreparedReconstruct


class ReconstructBench(ComparedByModule):
    """The bench that the entry point `reconstruct` of the group `kdst.benches` names."""

    capability = "reconstruct"
    package = "kdst-reconstruct"
    spares_zlib = True
    inputs = ReconstructInputs
    live = frozenset({"data"})
    codec = TorchCodec()
    headline = (Column("psnr.holdout", "held out, dB", 1.0),)
    """What a list of runs says of one."""

    def prepare(self, job: Job) -> PreparedReconstruct:
        """Load and check device, capture and held-out views."""
        target = load(job)
        return PreparedReconstruct(without_capture(job), target)

    def extends(self, result: Mapping[str, Any], changed: Mapping[str, tuple[Any, Any]]) -> bool:
        """Return whether only more iterations are asked for; KdstError when there are as many."""
        return extends(result, changed)

    def library(self) -> Library:
        """Return the function behind `kdst_core.load(METHOD)(…)`."""
        from kdst_reconstruct.library import INPUTS, fitted

        return Library(partial(fitted, automatic), INPUTS)

    def report(self, result: Mapping[str, Any], directory: Path) -> ReportContent:
        """Build the report of a run."""
        from kdst_reconstruct.report import content

        return content(result, directory)

    def smoke(self, method: Method, options: Any, run: Run) -> str:
        """Fit a small capture for 20 iterations; return a digest of a rendered view."""
        from kdst_reconstruct.kit import smoke

        return smoke(method, options, run)

    def checks(self, method: Method) -> Iterator[Check]:
        """Yield the checks of a reconstruction method."""
        from kdst_reconstruct.checks import reconstruct_checks

        return reconstruct_checks(method)


bench = ReconstructBench()
