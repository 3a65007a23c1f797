"""What a run needs, loaded and checked: tools, model, problems."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from kdst_core.contracts import Tool
from kdst_core.errors import KdstError
from kdst_tools import models, toolset
from kdst_tools.corpora import dated
from kdst_tools.dates import day
from kdst_tools.documents import Corpus, from_file
from kdst_tools.inputs import ToolsInputs
from kdst_tools.lines import is_unicode
from kdst_tools.staged import StagedOptions

if TYPE_CHECKING:
    from kdst_tools.evaluation.problems import Problem

PRACTICE = 1
"""Seed of the generated problems that the baseline learns from; those that are measured have 0."""


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


def pair(inputs: ToolsInputs, live: Any, device: str, stage: str) -> models.Pair:
    """Return model and tokenizer of `--model`, or a pair that was given from Python."""
    if live is None:
        if inputs.model == "tiny":
            torch.set_num_threads(1)
        return models.load(inputs.model, device, stage)
    if not isinstance(live, tuple) or len(live) != 2 or not hasattr(live[0], "config"):
        raise KdstError("model must be a pair from Python: (causal language model, fast tokenizer)")
    return models.check(live[0].to(device).eval(), live[1], "from Python")


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
    from kdst_tools.evaluation import problems as sets

    name = inputs.problems or ("tiny" if inputs.model == "tiny" else "none")
    return sets.load(name, inputs.problem_count)


def practice(inputs: ToolsInputs, measured: "Sequence[Problem]") -> "list[Problem]":
    """Return the problems whose answers the baseline may see; KdstError where there are none."""
    from kdst_tools.evaluation import problems as sets

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
