"""`python -m recipes.edit`: train the model, resumable, with a loss log and scores."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from kdst_core.errors import first_line
from recipes.edit.evaluate import Sampling, score_prompts
from recipes.edit.probe import word_gaps
from recipes.edit.runlog import Log, RecipeChanged, check_recipe
from recipes.edit.trainer import Recipe, Trainer


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit status."""
    options = vars(_parser().parse_args(argv))
    out, device = options.pop("out"), options.pop("device")
    amend, save_every = options.pop("amend"), options.pop("save_every")
    score_every = options.pop("score_every")
    torch.set_num_threads(options.pop("threads"))
    try:
        recipe = Recipe(**options)
        trainer = _open(recipe, out, torch.device(device), amend)
    except (ValueError, RuntimeError, RecipeChanged) as error:
        print(f"cannot train: {first_line(error)}", file=sys.stderr)
        return 2
    try:
        train(trainer, out, save_every=save_every, score_every=score_every)
    except KeyboardInterrupt:
        trainer.save(out / "state.pt")
        print(f"\nstopped at step {trainer.step}; the same command continues", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m recipes.edit", description=__doc__)
    parser.add_argument("out", type=Path, help="directory of the run; an old run there continues")
    for field in dataclasses.fields(Recipe):
        flag = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            action = argparse.BooleanOptionalAction
            parser.add_argument(flag, action=action, default=field.default)
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    parser.add_argument("--amend", action="store_true", help="continue under a changed recipe")
    parser.add_argument("--device", default="cpu", help="a torch device, for example cuda")
    parser.add_argument("--save-every", type=int, default=500, help="steps between checkpoints")
    parser.add_argument("--score-every", type=int, default=2000, help="steps between scores")
    parser.add_argument("--threads", type=int, default=1)
    return parser


def _open(recipe: Recipe, out: Path, device: torch.device, amend: bool) -> Trainer:
    """A trainer for `out`, at the state that an earlier run left there."""
    trainer, state = Trainer(recipe, device), out / "state.pt"
    out.mkdir(parents=True, exist_ok=True)
    if state.exists():
        trainer.load(state)
    check_recipe(out / "recipe.json", recipe, trainer.step, amend=amend)
    return trainer


def train(trainer: Trainer, out: Path, *, save_every: int = 500, score_every: int = 2000) -> None:
    """Run to the recipe's end: `loss.jsonl`, `scores.jsonl`, `state.pt` and `weights/` in `out`."""
    recipe, state = trainer.recipe, out / "state.pt"
    losses, scores = Log(out / "loss.jsonl", trainer.step), Log(out / "scores.jsonl", trainer.step)
    began, cpu, first = time.monotonic(), time.process_time(), trainer.step
    while trainer.step < recipe.steps:
        loss = trainer.train_step()
        losses.write(step=trainer.step, loss=loss, attention_error=trainer.attention_error)
        last = trainer.step == recipe.steps
        if trainer.step % 20 == 0 or last:
            speed = (trainer.step - first) / (time.monotonic() - began)
            _progress(trainer.step, recipe, losses.recent("loss"), speed)
        if trainer.step % score_every == 0 or last:
            row = {"images": trainer.step * recipe.batch, "loss": losses.recent("loss")}
            scores.write(step=trainer.step, **row, **_scores(trainer))
        if trainer.step % save_every == 0 or last:
            trainer.save(state)
    trainer.averaged().save_pretrained(out / "weights")
    print(f"\n{time.process_time() - cpu:.0f} CPU-seconds", file=sys.stderr)


def _scores(trainer: Trainer) -> dict[str, float]:
    """The words' gaps, and quick scores on few prompts: a curve, not the figures to report."""
    pipeline = trainer.averaged()
    parts = (pipeline.unet, pipeline.text_encoder, pipeline.tokenizer, pipeline.scheduler)
    quick = score_prompts(pipeline, 64, Sampling(steps=10))
    return word_gaps(*parts) | {name: measured.value for name, measured in quick.items()}


def _progress(step: int, recipe: Recipe, loss: float, speed: float) -> None:
    left = (recipe.steps - step) / speed / 60
    line = f"step {step}/{recipe.steps}  loss {loss:.4f}"
    rate = f"{speed * recipe.batch:.0f} images/s  {left:.0f} min left"
    print(f"\r{line}  {rate}  ", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
