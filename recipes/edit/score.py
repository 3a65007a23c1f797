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


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, score and print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m recipes.edit.score", description=__doc__)
    parser.add_argument("weights", type=Path, nargs="?", default=weights_dir())
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inversions", type=int, default=64)
    parser.add_argument("--inversion-steps", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the scores to this file")
    parser.add_argument("--grid", type=Path, help="also write a picture of 64 samples")
    options = parser.parse_args(argv)
    if not (options.weights / "model_index.json").is_file():
        print(
            f"{options.weights} holds no model (no model_index.json); "
            "give the weights/ directory of a training run",
            file=sys.stderr,
        )
        return 2
    torch.set_num_threads(options.threads)
    pipeline = StableDiffusionPipeline.from_pretrained(options.weights).to(options.device)
    how = Sampling(options.steps, options.guidance, options.seed)
    analyser = score_analyser(options.prompts, options.seed)
    _show("analyser on real renders", analyser)
    scores = score_prompts(pipeline, options.prompts, how)
    scores["inversion_psnr"] = score_inversion(
        pipeline, options.inversions, options.inversion_steps, options.seed
    )
    _show("model", scores)
    if options.json:
        tables = {"sampling": dataclasses.asdict(how)}
        tables |= {"analyser": _plain(analyser), "model": _plain(scores)}
        options.json.write_text(json.dumps(tables, indent=1) + "\n")
    if options.grid:
        write_grid(pipeline, options.grid, how)
    return 0


def _show(title: str, scores: dict[str, Measured]) -> None:
    print(title)
    for name, measured in scores.items():
        wanted = WANTED.get(name) if title == "model" else None
        verdict = "" if wanted is None else f"  wanted {wanted:g}"
        if wanted is not None and measured.value < wanted:
            verdict += "  FALLS SHORT"
        print(f"  {name:18s}{measured}{verdict}", flush=True)


def _plain(scores: dict[str, Measured]) -> dict[str, dict[str, float]]:
    return {name: dataclasses.asdict(measured) for name, measured in scores.items()}


def write_grid(pipeline: StableDiffusionPipeline, path: Path, how: Sampling) -> None:
    """A PNG of 6 rows of 10 fresh prompts, every image enlarged three times."""
    rows, columns, scale = 6, 10, 3
    generator = torch.Generator().manual_seed(how.seed)
    scenes = sample_scenes(rows * columns, generator, Mix(), fresh=True)
    images, _ = sample(pipeline, captions(scenes), how)
    side = images.shape[-1]
    tiled = images.reshape(rows, columns, 3, side, side).permute(0, 3, 1, 4, 2)
    tiled = tiled.reshape(rows * side, columns * side, 3)
    pixels = ((tiled + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    picture = Image.fromarray(pixels)
    size = (picture.width * scale, picture.height * scale)
    picture.resize(size, Image.Resampling.NEAREST).save(path)


if __name__ == "__main__":
    sys.exit(main())
