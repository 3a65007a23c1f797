"""The bench of `augment_with_tools`; it forwards to the modules that do the work."""

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
from kdst_tools.inputs import ToolsInputs

if TYPE_CHECKING:
    from kdst_tools.loop import PreparedTools


class ToolsBench(ComparedByModule):
    """The bench that the entry point `augment_with_tools` of the group `kdst.benches` names."""

    capability = "augment_with_tools"
    package = "kdst-tools"
    inputs = ToolsInputs
    live = frozenset({"model"})
    codec = TorchCodec()
    headline = (Column("exact.after", "exact match, %", 100.0, 1),)
    """What a list of runs says of one."""

    def prepare(self, job: Job) -> "PreparedTools":
        """Load and check device, tools, model, texts and problems."""
        from kdst_tools import load
        from kdst_tools.loop import PreparedTools

        return PreparedTools(load.target(job))

    def extends(self, result: Mapping[str, Any], changed: Mapping[str, tuple[Any, Any]]) -> bool:
        """Return whether the run goes on: with a later stage, or with more rounds of all stages."""
        from kdst_tools.options import extends

        return extends(result, changed)

    def library(self) -> Library:
        """Return the function behind `kdst_core.load(METHOD)(…)`."""
        from kdst_tools.library import learner

        return Library(learner)

    def report(self, result: Mapping[str, Any], directory: Path) -> ReportContent:
        """Build the report of a run."""
        from kdst_tools.report import content

        return content(result, directory)

    def smoke(self, method: Method, options: Any, run: Run) -> str:
        """Annotate three sentences with a small random model; return a digest of the calls."""
        from kdst_tools.kit import digest

        return digest(method, options, run)

    def checks(self, method: Method) -> Iterator[Check]:
        """Yield the checks of a method of tool use."""
        from kdst_tools.checks import tools_checks

        return tools_checks(method)


bench = ToolsBench()
