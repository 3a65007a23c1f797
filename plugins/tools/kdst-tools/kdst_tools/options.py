"""The options that every method of tool use takes: how far a run goes, and how often."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import frozen

from kdst_core.errors import KdstError
from kdst_core.options import option

STAGES = ("sample", "execute", "filter", "finetune", "generate", "evaluate")
"""The stages of a run, in order."""


@frozen
class StagedOptions:
    """Base class of a method's options."""

    stage: Literal["sample", "execute", "filter", "finetune", "generate", "evaluate"] = option(
        "evaluate",
        "Carry out the stages up to this one; --resume with a later one goes on from there.",
    )
    rounds: int = option(
        1, "Rounds of annotating and finetuning, each with the model of the one before.", min=1
    )
    begin_token: Literal["auto", "always", "never"] = option(
        "auto",
        "What stands before every text that the model reads. auto: what its tokenizer puts there, often"
        " nothing. always: its begin token, or else its end token. never: nothing.",
    )
    choose: Literal["all", "likely"] = option(
        "all",
        "Which texts are sampled for a tool. likely: those that seem to need it (the paper's appendix:"
        " numbers with an operation between them, dates; also names and other languages); texts that no"
        " tool is likely for are left out, and the counts are said.",
    )
    learn: Literal["all", "called"] = option(
        "all",
        "Texts that finetuning sees. all: every annotated text, most of them without a call (C*). called:"
        " those that carry one, several times fewer steps for as many calls; all where none does.",
    )
    prompt: str | None = option(
        None, "Only continue this text with --model, and show the calls. Nothing is trained."
    )
    prompts: Path | None = option(
        None,
        "Only continue the texts of this file, which is read as --texts, a line of generations.jsonl"
        " each. Nothing is trained.",
    )

    @property
    def continues(self) -> bool:
        """Whether the run only continues prompts."""
        return self.prompt is not None or self.prompts is not None


def extends(result: Mapping[str, Any], changed: Mapping[str, tuple[Any, Any]]) -> bool:
    """Return whether a finished run goes on with changed options: a later stage, or more rounds.

    KdstError for a stage or a number of rounds that lies before what was reached.
    """
    if not set(changed) <= {"stage", "rounds"}:
        return False
    before, now = changed.get("stage", (result["options"]["stage"],) * 2)
    if STAGES.index(now) < STAGES.index(before):
        raise KdstError(f"the run has come to {before} already; --stage {now} lies before it")
    done, wanted = changed.get("rounds", (1, 1))
    if wanted < done:
        raise KdstError(f"the run has come to round {done} already; give --rounds {done} or more")
    return True
