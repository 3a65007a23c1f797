"""What a run needs, loaded and checked: tools, model, problems."""

from typing import TYPE_CHECKING, Any

import torch

from kdst_core.contracts import Tool
from kdst_core.errors import KdstError
from kdst_tools import models, toolset
from kdst_tools.inputs import ToolsInputs

if TYPE_CHECKING:
    from kdst_tools.evaluation.problems import Problem


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


def problems(inputs: ToolsInputs) -> "list[Problem]":
    """Return the problems of `--problems`; none where there are none."""
    from kdst_tools.evaluation import problems as sets

    name = inputs.problems or ("tiny" if inputs.model == "tiny" else "none")
    return sets.load(name, inputs.problem_count)
