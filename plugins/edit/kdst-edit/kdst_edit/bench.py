"""The bench of `edit`; it forwards to the modules that do the work."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdst_batch.comparable import Column, ComparedByModule
from kdst_core.bench.contract import Check, Job
from kdst_core.bench.library import Library
from kdst_core.plugins.method import Method
from kdst_core.reports.blocks import ReportContent
from kdst_core.runs.codecs import TorchCodec
from kdst_core.runs.rundir import Run
from kdst_edit.inputs import EditInputs

if TYPE_CHECKING:
    from kdst_edit.run import Case


class EditBench(ComparedByModule):
    """The bench that the entry point `edit` of the group `kdst.benches` names."""

    capability = "edit"
    package = "kdst-edit"
    inputs = EditInputs
    live = frozenset({"model", "image"})
    codec = TorchCodec()
    headline = (
        Column("background_psnr", "background, dB", 1.0, 1),
        Column("success", "success, %", 100.0, 0),
    )
    """What a list of runs says of one."""

    def prepare(self, job: Job) -> "Case":
        """Load model and image, and check that every prompt fits the model."""
        from kdst_edit.run import prepare

        return prepare(job)

    def library(self) -> Library:
        """Return the function behind `kdst_core.load(METHOD)(…)`."""
        from kdst_edit.library import INPUTS, edited

        return Library(edited, INPUTS)

    def report(self, result: Mapping[str, Any], directory: Path) -> ReportContent:
        """Build the report of a run."""
        from kdst_edit.report import content

        return content(result, directory)

    def smoke(self, method: Method, options: Any, run: Run) -> str:
        """Edit one image of the tiny model in a few steps; return a digest of it."""
        from kdst_edit.checks import smoke

        return smoke(method, options, run)

    def checks(self, method: Method) -> Iterator[Check]:
        """Yield the checks of an editing method."""
        from kdst_edit.checks import edit_checks

        return edit_checks(method)


bench = EditBench()
"""The bench of image editing for kdst."""
