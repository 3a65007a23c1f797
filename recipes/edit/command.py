"""The command of a training: resumable, with a log of losses and of scores."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kdst_core.errors import first_line
from recipes.edit.runlog import Log, RecipeChanged, check_recipe
from recipes.edit.training import Course, Training


@dataclass(frozen=True)
class Command:
    """A training as a command: its name, its options, its trainer and its quick scores."""

    prog: str
    about: str | None
    recipe: type[Course]
    trainer: Callable[[Any, torch.device], Training]
    scores: Callable[[Any], dict[str, float]]

    def run(self, argv: Sequence[str] | None) -> int:
        """Parse the command line and train; returns the exit status."""
        options = vars(self._parser().parse_args(argv))
        out, device = options.pop("out"), options.pop("device")
        amend, save_every = options.pop("amend"), options.pop("save_every")
        score_every = options.pop("score_every")
        torch.set_num_threads(options.pop("threads"))
        try:
            trainer = self._open(self.recipe(**options), out, torch.device(device), amend)
        except (ValueError, RuntimeError, RecipeChanged) as error:
            print(f"cannot train: {first_line(error)}", file=sys.stderr)
            return 2
        try:
            self._train(trainer, out, save_every, score_every)
        except KeyboardInterrupt:
            trainer.save(out / "state.pt")
            print(f"\nstopped at step {trainer.step}; the same command continues", file=sys.stderr)
            return 130
        return 0

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(prog=self.prog, description=self.about)
        parser.add_argument(
            "out", type=Path, help="directory of the run; an old run there continues"
        )
        for field in dataclasses.fields(self.recipe):
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

    def _open(self, recipe: Course, out: Path, device: torch.device, amend: bool) -> Training:
        """A trainer for `out`, at the state that an earlier run left there."""
        trainer, state = self.trainer(recipe, device), out / "state.pt"
        out.mkdir(parents=True, exist_ok=True)
        if state.exists():
            trainer.load(state)
        check_recipe(out / "recipe.json", recipe, trainer.step, amend=amend)
        return trainer

    def _train(self, trainer: Training, out: Path, save_every: int, score_every: int) -> None:
        """To the end of the course: `loss.jsonl`, `scores.jsonl`, `state.pt` and `weights/`."""
        course, state = trainer.course, out / "state.pt"
        losses = Log(out / "loss.jsonl", trainer.step)
        scores = Log(out / "scores.jsonl", trainer.step)
        began, cpu, first = time.monotonic(), time.process_time(), trainer.step
        while trainer.step < course.steps:
            loss = trainer.train_step()
            losses.write(step=trainer.step, loss=loss, **trainer.figures)
            last = trainer.step == course.steps
            if trainer.step % 20 == 0 or last:
                speed = (trainer.step - first) / (time.monotonic() - began)
                _progress(trainer.step, course, losses.recent("loss"), speed)
            if trainer.step % score_every == 0 or last:
                row = {"images": trainer.step * course.batch, "loss": losses.recent("loss")}
                scores.write(step=trainer.step, **row, **self.scores(trainer))
            if trainer.step % save_every == 0 or last:
                trainer.save(state)
        trainer.averaged().save_pretrained(out / "weights")
        print(f"\n{time.process_time() - cpu:.0f} CPU-seconds", file=sys.stderr)


def _progress(step: int, course: Course, loss: float, speed: float) -> None:
    left = (course.steps - step) / speed / 60
    line = f"step {step}/{course.steps}  loss {loss:.4f}"
    rate = f"{speed * course.batch:.0f} images/s  {left:.0f} min left"
    print(f"\r{line}  {rate}  ", end="", file=sys.stderr, flush=True)
