"""`python -m recipes.edit`: train the model, resumable, with a loss log and scores."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

import sys
from collections.abc import Sequence

from recipes.edit.command import Command
from recipes.edit.evaluate import Sampling, score_prompts
from recipes.edit.probe import word_gaps
from recipes.edit.trainer import Recipe, Trainer


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit status."""
    return Command("python -m recipes.edit", __doc__, Recipe, Trainer, _scores).run(argv)


def _scores(trainer: Trainer) -> dict[str, float]:
    """The words' gaps, and quick scores on few prompts: a curve, not the figures to report."""
    pipeline = trainer.averaged()
    parts = (pipeline.unet, pipeline.text_encoder, pipeline.tokenizer, pipeline.scheduler)
    quick = score_prompts(pipeline, 64, Sampling(steps=10))
    return word_gaps(*parts) | {name: measured.value for name, measured in quick.items()}


if __name__ == "__main__":
    sys.exit(main())
