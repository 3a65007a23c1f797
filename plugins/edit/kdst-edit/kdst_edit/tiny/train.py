"""`python -m kdst_edit.tiny.train`: train the model, resumable, with a loss log and scores."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from kdst_edit.tiny.probe import word_gaps
from kdst_edit.tiny.trainer import Recipe, Trainer


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kdst_edit.tiny.train", description=__doc__)
    parser.add_argument("out", type=Path, help="directory of the run; an old run there continues")
    for field in dataclasses.fields(Recipe):
        flag = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=field.default
            )
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    parser.add_argument("--device", default="cpu", help="a torch device, for example cuda")
    parser.add_argument("--save-every", type=int, default=500, help="steps between checkpoints")
    parser.add_argument("--score-every", type=int, default=2000, help="steps between scores")
    parser.add_argument("--threads", type=int, default=1)
    options = vars(parser.parse_args(argv))
    out, device = options.pop("out"), torch.device(options.pop("device"))
    save_every, score_every = options.pop("save_every"), options.pop("score_every")
    torch.set_num_threads(options.pop("threads"))
    train(Recipe(**options), out, device, save_every=save_every, score_every=score_every)
    return 0


def train(
    recipe: Recipe,
    out: Path,
    device: torch.device,
    *,
    save_every: int = 500,
    score_every: int = 2000,
) -> None:
    """Run or continue `recipe` in `out`: `loss.jsonl`, `scores.jsonl`, `state.pt`, `weights/`."""
    out.mkdir(parents=True, exist_ok=True)
    trainer, state = Trainer(recipe, device), out / "state.pt"
    if state.exists():
        trainer.load(state)
    loss_log = Log(out / "loss.jsonl", trainer.step)
    score_log = Log(out / "scores.jsonl", trainer.step)
    began, cpu, first = time.monotonic(), time.process_time(), trainer.step
    while trainer.step < recipe.steps:
        loss_log.write(step=trainer.step + 1, loss=trainer.train_step())
        if trainer.step % 20 == 0:
            speed = (trainer.step - first) / (time.monotonic() - began)
            _progress(trainer.step, recipe, loss_log.recent(), speed)
        last = trainer.step == recipe.steps
        if trainer.step % score_every == 0 or last:
            row = {"images": trainer.step * recipe.batch, "loss": loss_log.recent()}
            score_log.write(step=trainer.step, **row, **_scores(trainer))
        if trainer.step % save_every == 0 or last:
            trainer.save(state)
    trainer.averaged().save_pretrained(out / "weights")
    print(f"\n{time.process_time() - cpu:.0f} CPU-seconds", file=sys.stderr)


def _scores(trainer: Trainer) -> dict[str, float]:
    pipeline = trainer.averaged()
    parts = (pipeline.unet, pipeline.text_encoder, pipeline.tokenizer, pipeline.scheduler)
    return word_gaps(*parts)


def _progress(step: int, recipe: Recipe, loss: float, speed: float) -> None:
    left = (recipe.steps - step) / speed / 60
    line = f"step {step}/{recipe.steps}  loss {loss:.4f}"
    rate = f"{speed * recipe.batch:.0f} images/s  {left:.0f} min left"
    print(f"\r{line}  {rate}  ", end="", file=sys.stderr, flush=True)


class Log:
    """A JSON-lines file; opening it at `step` drops the rows that a killed run wrote after it."""

    def __init__(self, path: Path, step: int) -> None:
        lines = path.read_text().splitlines() if path.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("}")]
        kept = [row for row in rows if row["step"] <= step]
        path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a", buffering=1)
        self._losses = [row["loss"] for row in kept[-100:]]

    def write(self, **row: Any) -> None:
        """Append one row."""
        self._file.write(json.dumps(row) + "\n")
        self._losses = [*self._losses[-99:], row["loss"]]

    def recent(self) -> float:
        """The mean loss of the last 100 rows."""
        return sum(self._losses) / max(len(self._losses), 1)


if __name__ == "__main__":
    sys.exit(main())
