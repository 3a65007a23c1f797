"""The bench of `invert`; it forwards to the modules that do the work."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdst_core.bench.compare import Column, Contender
from kdst_core.bench.contract import Check, Job
from kdst_core.bench.library import Library
from kdst_core.plugins.method import Method
from kdst_core.reports.blocks import Figure, ReportContent, Stat
from kdst_core.runs.codecs import Codec, JsonCodec
from kdst_core.runs.rundir import Run
from kdst_invert.inputs import InvertInputs

if TYPE_CHECKING:
    from kdst_invert.run import Planned


class InvertBench:
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

    def seeded(self, inputs: Any) -> bool:
        """Return whether the seed changes what a method is fed."""
        from kdst_invert.compare import seeded

        return seeded(inputs)

    def columns(self, result: Mapping[str, Any]) -> Sequence[Column]:
        """Return the columns of a comparison's table."""
        from kdst_invert.compare import columns

        return columns(result)

    def mismatch(self, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
        """Return how the protocols of two results differ, '' where they can be compared."""
        from kdst_invert.compare import mismatch

        return mismatch(ours, theirs)

    def paired(self, ours: Contender, theirs: Contender) -> tuple[float, float]:
        """Return the difference of the first column on the same texts, and its standard error."""
        from kdst_invert.compare import paired

        return paired(ours, theirs)

    def comparison(self, contenders: Sequence[Contender]) -> tuple[list[Stat], list[Figure]]:
        """Return headline numbers and figures of a comparison's report."""
        from kdst_invert.compare import comparison

        return comparison(contenders)

    def smoke(self, method: Method, options: Any, run: Run) -> str:
        """Invert a few notes in two steps; return a digest of the texts."""
        from kdst_invert.kit import digest

        return digest(method, options, run)

    def checks(self, method: Method) -> Iterator[Check]:
        """Yield the checks of a method that inverts."""
        from kdst_invert.checks import invert_checks

        return invert_checks(method)


bench = InvertBench()
