"""The bench of `invert`; it forwards to the modules that do the work."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdst_batch.comparable import Column, ComparedByModule
from kdst_core.bench.contract import Check, Job
from kdst_core.bench.library import Library
from kdst_core.plugins.method import Method
from kdst_core.reports.blocks import ReportContent
from kdst_core.runs.codecs import Codec, JsonCodec
from kdst_core.runs.rundir import Run
from kdst_invert.inputs import InvertInputs

if TYPE_CHECKING:
    from kdst_invert.run import Planned


class InvertBench(ComparedByModule):
    """The bench that the entry point `invert` of the group `kdst.benches` names."""

    capability = "invert"
    package = "kdst-invert"
    inputs: type = InvertInputs
    live: frozenset[str] = frozenset({"texts", "embeddings", "embedder"})
    codec: Codec = JsonCodec()
    headline = (
        Column("exact.final", "exact, %", 100.0, 1),
        Column("token_f1.final", "token F1", 1.0, 3),
    )

    def prepare(self, job: Job) -> "Planned":
        """Load embedder, texts and vectors; no text is embedded before the run has its directory."""
        from kdst_invert.run import prepare

        return prepare(job)

    def library(self) -> Library:
        """Return the function behind `kdst_core.load(METHOD)(…)`."""
        from kdst_invert.library import inverted

        return Library(inverted)

    def report(self, result: Mapping[str, Any], directory: Path) -> ReportContent:
        """Build the report of a run or of an audit."""
        from kdst_invert.report.page import content

        return content(result, directory)

    def refuse(self, method: Method, inputs: Any) -> None:
        """Raise KdstError for inputs that no comparison can be made of."""
        from kdst_invert.compare import refuse

        refuse(inputs)

    def smoke(self, method: Method, options: Any, run: Run) -> str:
        """Invert a few notes in two steps; return a digest of the texts."""
        from kdst_invert.kit import digest

        return digest(method, options, run)

    def checks(self, method: Method) -> Iterator[Check]:
        """Yield the checks of a method that inverts."""
        from kdst_invert.checks import invert_checks

        return invert_checks(method)


bench = InvertBench()
