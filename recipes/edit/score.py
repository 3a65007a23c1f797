"""`python -m recipes.edit.score`: every score of the model, each with its 95 % interval."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from kdst_edit.default import weights_dir
from kdst_edit.shapes.scene import Mix, captions, sample_scenes
from recipes.edit.evaluate import (
    Sampling,
    sample,
    score_analyser,
    score_inversion,
    score_prompts,
)
from recipes.edit.intervals import Measured

WANTED = {
    "background": 0.98,
    "colour": 0.98,
    "texture": 0.95,
    "shape": 0.9,
    "colour_word_auc": 0.98,
    "shape_word_auc": 0.9,
    "pair_both": 0.7,
    "inversion_psnr": 28.0,
}
ROWS, COLUMNS = 6, 10


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, score and print; returns the exit status."""
    parser = score_parser("python -m recipes.edit.score", __doc__)
    parser.add_argument("--inversions", type=int, default=64)
    parser.add_argument("--inversion-steps", type=int, default=50)
    parser.set_defaults(weights=weights_dir())
    options = parser.parse_args(argv)
    if not holds_model(options.weights):
        return 2
    torch.set_num_threads(options.threads)
    pipeline = StableDiffusionPipeline.from_pretrained(options.weights).to(options.device)
    how = Sampling(options.steps, options.guidance, options.seed)
    analyser = score_analyser(options.prompts, options.seed)
    show("analyser on real renders", analyser)
    scores = score_prompts(pipeline, options.prompts, how)
    scores["inversion_psnr"] = score_inversion(
        pipeline, options.inversions, options.inversion_steps, options.seed
    )
    show("model", scores, WANTED)
    if options.json:
        write_scores(options.json, how, analyser, scores)
    if options.grid:
        write_grid(options.grid, sample(pipeline, grid_prompts(how.seed), how)[0])
    return 0


def score_parser(prog: str, about: str | None) -> argparse.ArgumentParser:
    """The options that scoring a model of either kind takes."""
    parser = argparse.ArgumentParser(prog=prog, description=about)
    parser.add_argument("weights", type=Path, nargs="?")
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the scores to this file")
    parser.add_argument("--grid", type=Path, help="also write a picture of 60 samples")
    return parser


def holds_model(weights: Path) -> bool:
    """Whether `weights` is a pipeline's directory; says so in a line when it is none."""
    if (weights / "model_index.json").is_file():
        return True
    print(
        f"{weights} holds no model (no model_index.json); "
        "give the weights/ directory of a training run",
        file=sys.stderr,
    )
    return False


def show(title: str, scores: dict[str, Measured], wanted: dict[str, float] | None = None) -> None:
    """Print `scores`, each beside the value that is wanted of it."""
    print(title)
    for name, measured in scores.items():
        least = (wanted or {}).get(name)
        verdict = "" if least is None else f"  wanted {least:g}"
        if least is not None and measured.value < least:
            verdict += "  FALLS SHORT"
        print(f"  {name:18s}{measured}{verdict}", flush=True)


def write_scores(
    path: Path, how: Sampling, analyser: dict[str, Measured], model: dict[str, Measured]
) -> None:
    """Write how was sampled and what was measured to `path`."""
    tables = {"sampling": dataclasses.asdict(how)}
    tables |= {"analyser": _plain(analyser), "model": _plain(model)}
    path.write_text(json.dumps(tables, indent=1) + "\n")


def _plain(scores: dict[str, Measured]) -> dict[str, dict[str, float]]:
    return {name: dataclasses.asdict(measured) for name, measured in scores.items()}


def grid_prompts(seed: int) -> list[str]:
    """Fresh prompts for a grid."""
    generator = torch.Generator().manual_seed(seed)
    return captions(sample_scenes(ROWS * COLUMNS, generator, Mix(), fresh=True))


def write_grid(path: Path, images: Tensor) -> None:
    """A PNG of 6 rows of 10 `images` (60, 3, H, W), every one enlarged three times."""
    side, scale = images.shape[-1], 3
    tiled = images.reshape(ROWS, COLUMNS, 3, side, side).permute(0, 3, 1, 4, 2)
    tiled = tiled.reshape(ROWS * side, COLUMNS * side, 3)
    pixels = ((tiled + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    picture = Image.fromarray(pixels)
    size = (picture.width * scale, picture.height * scale)
    picture.resize(size, Image.Resampling.NEAREST).save(path)


if __name__ == "__main__":
    sys.exit(main())
