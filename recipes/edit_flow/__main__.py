"""`python -m recipes.edit_flow`: train the flow transformer, resumable, with its scores."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recipes.edit.command import Command
from recipes.edit_flow.evaluate import Sampling, score_prompts
from recipes.edit_flow.trainer import Recipe, Trainer


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit status."""
    return Command("python -m recipes.edit_flow", __doc__, Recipe, Trainer, _scores).run(argv)


def _scores(trainer: Trainer) -> dict[str, float]:
    """Quick scores on few prompts and few zeros: a curve, not the figures to report."""
    quick = score_prompts(trainer.averaged(), 64, Sampling(steps=10, zeros=16))
    return {name: measured.value for name, measured in quick.items()}


if __name__ == "__main__":
    sys.exit(main())
