"""The bench of `augment_with_tools`: prepares a run, carries it out, and reports on it."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdst_batch.executors.place import place
from kdst_core.bench.compare import Column
from kdst_core.bench.contract import Check, Job
from kdst_core.bench.device import has_cuda, usable
from kdst_core.bench.library import Library
from kdst_core.errors import KdstError
from kdst_core.plugins.method import Method
from kdst_core.reports.blocks import ReportContent
from kdst_core.runs.codecs import TorchCodec
from kdst_core.runs.rundir import Run
from kdst_tools.inputs import ToolsInputs
from kdst_tools.staged import STAGES, StagedOptions


class ToolsBench:
    """The bench that the entry point `augment_with_tools` of the group `kdst.benches` names."""

    capability = "augment_with_tools"
    package = "kdst-tools"
    inputs = ToolsInputs
    live = frozenset({"model"})
    codec = TorchCodec()
    headline = (Column("exact.after", "exact match, %", 100.0, 1),)
    """What a list of runs says of one."""

    def prepare(self, job: Job) -> Any:
        """Load and check device, tools, model, texts and problems."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from kdst_tools import corpora, dates, loading
        from kdst_tools.evaluation.rejection import options_of
        from kdst_tools.judged import Judged
        from kdst_tools.prepared import PreparedTools
        from kdst_tools.quiet import quiet

        inputs: ToolsInputs = job.inputs
        where = place(inputs)
        if where is not None and "model" in job.objects:
            raise KdstError(
                "workers load the model themselves: save it and give its directory as model,"
                " or leave executor and jobs out"
            )
        small = inputs.model == "tiny" and "model" not in job.objects
        automatic = "cuda" if has_cuda() and not small else "cpu"
        device = usable(automatic if job.device == "auto" else job.device)
        tools = loading.tools(inputs)
        today = dates.day(inputs.date)
        own = job.options if isinstance(job.options, StagedOptions) else StagedOptions()
        learns = not own.continues
        prompts = loading.prompts(inputs, own)
        likely = [tool.name for tool in tools] if own.choose == "likely" else None
        inputs = loading.with_texts(inputs) if learns else inputs
        first = corpora.corpus(inputs, job.seed, 1, likely) if learns else None
        with quiet():
            stage = "warm" if learns else "shipped"
            pair = loading.pair(inputs, job.objects.get("model"), device, stage)
            problems = loading.problems(inputs) if learns and _measures(own) else []
            plain = corpora.held_out(inputs) if learns and _measures(own) else []
        practice = None
        if inputs.baseline == "rejection" and learns and own.stage == "evaluate":
            options_of(job.options, inputs.baseline_temperature)
            practice = Judged.of(loading.practice(inputs, problems), [])
        judged = Judged.of(problems, plain)
        return PreparedTools(
            job, device, pair, tools, first, judged, today, where, prompts, practice
        )

    def extends(self, result: Mapping[str, Any], changed: Mapping[str, tuple[Any, Any]]) -> bool:
        """Return whether the run goes on: with a later stage, or with more rounds of all stages."""
        if not set(changed) <= {"stage", "rounds"}:
            return False
        before, now = changed.get("stage", (result["options"]["stage"],) * 2)
        if STAGES.index(now) < STAGES.index(before):
            raise KdstError(f"the run has come to {before} already; --stage {now} lies before it")
        done, wanted = changed.get("rounds", (1, 1))
        if wanted < done:
            raise KdstError(
                f"the run has come to round {done} already; give --rounds {done} or more"
            )
        return True

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
        from kdst_tools.checks import smoke

        return smoke(method, options, run)

    def checks(self, method: Method) -> Iterator[Check]:
        """Yield the checks of a method of tool use."""
        from kdst_tools.checks import tools_checks

        return tools_checks(method)


def _measures(own: StagedOptions) -> bool:
    """Whether a run comes to the stages that need problems."""
    return STAGES.index(own.stage) >= STAGES.index("generate")


bench = ToolsBench()
