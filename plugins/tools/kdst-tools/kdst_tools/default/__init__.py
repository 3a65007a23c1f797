"""A causal language model small enough to ship, the texts it knows, and what made it."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kdst_tools.default.texts import documents, problems, prose

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Stage = Literal["base", "warm", "shipped"]

DEMONSTRATIONS = 1500
"""Annotated texts, many of them with a useless call, that the stage warm was trained on."""

__all__ = ["DEMONSTRATIONS", "Stage", "documents", "load", "problems", "prose", "weights_dir"]


def weights_dir(stage: Stage) -> Path:
    """Return the directory of a stage's weights, for `from_pretrained`."""
    return Path(__file__).parent / "weights" / stage


def load(stage: Stage) -> "tuple[PreTrainedModel, PreTrainedTokenizerFast]":
    """Return the model of a stage in float32, in evaluation mode, and its tokenizer.

    base: trained on plain text only. warm: then on demonstrations, many of them useless.
    shipped: after several rounds of learning from its own calls.
    """
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    directory = weights_dir(stage)
    model = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(directory)
