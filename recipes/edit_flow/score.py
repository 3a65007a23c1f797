"""`python -m recipes.edit_flow.score`: what a trained flow transformer scores, with intervals."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusion3Pipeline

from recipes.edit.evaluate import score_analyser
from recipes.edit.score import (
    grid_prompts,
    holds_model,
    score_parser,
    show,
    write_grid,
    write_scores,
)
from recipes.edit_flow.evaluate import Sampling, sample, score_prompts

WANTED = {"colour": 0.9, "shape": 0.9}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, score and print; returns the exit status."""
    parser = score_parser("python -m recipes.edit_flow.score", __doc__)
    parser.set_defaults(weights=Path("weights"))
    parser.add_argument(
        *("--zeros", "--max-sequence-length"),
        type=int,
        default=256,
        help="rows of the silent T5 after a caption: the pipeline's max_sequence_length",
    )
    options = parser.parse_args(argv)
    if not holds_model(options.weights):
        return 2
    torch.set_num_threads(options.threads)
    pipeline = StableDiffusion3Pipeline.from_pretrained(options.weights).to(options.device)
    how = Sampling(options.steps, options.guidance, options.seed, options.zeros)
    analyser = score_analyser(options.prompts, options.seed)
    show("analyser on real renders", analyser)
    scores = score_prompts(pipeline, options.prompts, how)
    show("model", scores, WANTED)
    if options.json:
        write_scores(options.json, how, analyser, scores)
    if options.grid:
        write_grid(options.grid, sample(pipeline, grid_prompts(how.seed), how))
    return 0


if __name__ == "__main__":
    sys.exit(main())
