"""The bench of `edit`; it forwards to the modules that do the work."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdst_core.bench.compare import Column, Contender
from kdst_core.bench.contract import Check, Job
from kdst_core.bench.library import Library
from kdst_core.plugins.method import Method
from kdst_core.reports.blocks import Figure, ReportContent, Stat
from kdst_core.runs.codecs import TorchCodec
from kdst_core.runs.rundir import Run
from kdst_edit.inputs import EditInputs

if TYPE_CHECKING:
    from kdst_edit.run import Case


class EditBench:
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

    def seeded(self, inputs: EditInputs) -> bool:
        """Return whether the seed changes what a method is fed."""
        from kdst_edit.compare import seeded

        return seeded(inputs)

    def columns(self, result: Mapping[str, Any]) -> Sequence[Column]:
        """Return the columns of a comparison's table."""
        from kdst_edit.compare import columns

        return columns(result)

    def mismatch(self, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
        """Return how the protocols of two results differ, '' where they can be compared."""
        from kdst_edit.compare import mismatch

        return mismatch(ours, theirs)

    def paired(self, ours: Contender, theirs: Contender) -> tuple[float, float]:
        """Return the difference of the first column on the same targets, and its standard error."""
        from kdst_edit.compare import paired

        return paired(ours, theirs)

    def comparison(self, contenders: Sequence[Contender]) -> tuple[list[Stat], list[Figure]]:
        """Return headline numbers and figures of a comparison's report."""
        from kdst_edit.compare import comparison

        return comparison(contenders)


bench = EditBench()
"""The bench of image editing for kdst."""
