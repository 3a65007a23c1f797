"""The target of a run: model, tools, texts and problems, loaded and checked."""

import datetime
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen

from kdst_batch.executors.place import Place, place
from kdst_core.bench.contract import Job
from kdst_core.bench.device import has_cuda, usable
from kdst_core.bench.libraries import silence_libraries
from kdst_core.contracts import Tool, ToolLearner, ToolsRequest
from kdst_core.errors import KdstError
from kdst_core.runs.rundir import Run
from kdst_tools.corpora.dates import day
from kdst_tools.corpora.documents import Corpus, from_file
from kdst_tools.corpora.lines import is_unicode
from kdst_tools.corpora.sources import corpus, dated, held_out
from kdst_tools.evaluation import sets
from kdst_tools.evaluation.judged import Judged
from kdst_tools.evaluation.rejection import options_of
from kdst_tools.inputs import ToolsInputs
from kdst_tools.models import pretrained
from kdst_tools.options import STAGES, StagedOptions
from kdst_tools.tools import toolset

if TYPE_CHECKING:
    from kdst_tools.evaluation.problems import Problem
    from kdst_tools.models.pretrained import Pair

PRACTICE = 1
"""Seed of the generated problems that the baseline learns from; those that are measured have 0."""


@frozen
class Target:
    """What a run works on. pair: model and tokenizer. first: texts of the first round, None where the
    run only continues prompts. judged: what is measured on. practice: problems whose answers the
    baseline may see. day: of prompts, and of problems without a date. place: of workers, if any."""

    job: Job
    device: str
    pair: "Pair"
    tools: Sequence[Tool]
    first: Corpus | None
    judged: Judged
    day: datetime.date
    place: Place | None = None
    prompts: Corpus | None = None
    practice: Judged | None = None

    @property
    def inputs(self) -> ToolsInputs:
        """The bench's options."""
        inputs: ToolsInputs = self.job.inputs
        return inputs

    @property
    def options(self) -> StagedOptions:
        """How far the run goes, and how often."""
        return staged(self.job)

    @property
    def embedded(self) -> bool:
        """Whether the model is the embedded one, which was warmed up on demonstrations."""
        return self.inputs.model == "tiny" and "model" not in self.job.objects

    @property
    def names(self) -> list[str]:
        """The names of the tools."""
        return [tool.name for tool in self.tools]

    def learner(self, pair: "Pair", run: Run, options: Any = None) -> ToolLearner:
        """Bind the method to a model, with other options than the run's where they are given."""
        model, tokenizer = pair
        request = ToolsRequest(model, tokenizer, self.tools, self.job.seed, warm=self.embedded)
        found: ToolLearner = self.job.method.call(request, options or self.job.options, run)
        return found

    def corpus(self, number: int) -> Corpus:
        """Return the texts of a round."""
        if number == 1 and self.first is not None:
            return self.first
        likely = self.names if self.options.choose == "likely" else None
        return corpus(self.inputs, self.job.seed, number, likely)


def staged(job: Job) -> StagedOptions:
    """Return the options of a method that the bench knows; their defaults where it has others."""
    return job.options if isinstance(job.options, StagedOptions) else StagedOptions()


def target(job: Job) -> Target:
    """Load and check device, tools, model, texts and problems; KdstError for bad input."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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
    own, made, today = staged(job), tools(inputs), day(inputs.date)
    learns = not own.continues
    given = prompts(inputs, own)
    likely = [tool.name for tool in made] if own.choose == "likely" else None
    first = corpus(with_texts(inputs), job.seed, 1, likely) if learns else None
    measured = learns and STAGES.index(own.stage) >= STAGES.index("generate")
    with silence_libraries():
        loaded = pair(inputs, job.objects.get("model"), device, "warm" if learns else "shipped")
        asked = problems(inputs) if measured else []
        plain = held_out(inputs) if measured else []
    known = None
    if inputs.baseline == "rejection" and learns and own.stage == "evaluate":
        options_of(job.options, inputs.baseline_temperature)
        known = Judged.of(practice(inputs, asked), [])
    judged = Judged.of(asked, plain)
    return Target(job, device, loaded, made, first, judged, today, where, given, known)


def tools(inputs: ToolsInputs) -> list[Tool]:
    """Return the tools of `--tools`."""
    return toolset.load(inputs.tools, inputs.network)


def with_texts(inputs: ToolsInputs) -> ToolsInputs:
    """Return the inputs, checked for texts; KdstError where a user's model has none to learn from."""
    if inputs.texts is None and inputs.model != "tiny":
        raise KdstError(
            "give --texts FILE: the plain texts to annotate (.jsonl, .csv, .txt, .parquet or a folder).\n"
            "Only the embedded model (--model tiny) generates its own"
        )
    return inputs


def pair(inputs: ToolsInputs, live: Any, device: str, stage: str) -> "Pair":
    """Return model and tokenizer of `--model`, or a pair that was given from Python."""
    if live is None:
        if inputs.model == "tiny":
            torch.set_num_threads(1)
        return pretrained.load(inputs.model, device, stage)
    if not isinstance(live, tuple) or len(live) != 2 or not hasattr(live[0], "config"):
        raise KdstError("model must be a pair from Python: (causal language model, fast tokenizer)")
    return pretrained.check(live[0].to(device).eval(), live[1], "from Python")


def prompts(inputs: ToolsInputs, own: StagedOptions) -> Corpus | None:
    """Return the prompts of a file, None where there is none; KdstError where one is given as well."""
    if own.prompt is not None and not is_unicode(own.prompt):
        raise KdstError(f"--prompt {own.prompt[:40]!r} holds what is no Unicode; give it as UTF-8")
    if own.prompts is None:
        return None
    if own.prompt is not None:
        raise KdstError("--prompt and --prompts: give one of them")
    return dated(from_file(own.prompts, inputs.text_field, "--prompts"), day(inputs.date))


def problems(inputs: ToolsInputs) -> "list[Problem]":
    """Return the problems of `--problems`; none where there are none."""
    name = inputs.problems or ("tiny" if inputs.model == "tiny" else "none")
    return sets.load(name, inputs.problem_count)


def practice(inputs: ToolsInputs, measured: "Sequence[Problem]") -> "list[Problem]":
    """Return the problems whose answers the baseline may see; KdstError where there are none."""
    name = inputs.baseline_problems or ("tiny" if inputs.model == "tiny" else "none")
    known = {" ".join(problem.prompt.split()) for problem in measured}
    found = sets.load(name, None, "--baseline-problems", seed=PRACTICE)
    left = [problem for problem in found if " ".join(problem.prompt.split()) not in known]
    if not left:
        raise KdstError(
            f"--baseline rejection: --baseline-problems {name} has no problem"
            f"{' that is not measured on' if found else ''}.\nGive svamp:FILE, asdiv:FILE, mawps:FILE or"
            " gsm8k:FILE with others than --problems"
        )
    return left
