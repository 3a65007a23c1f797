"""`python -m recipes.tools OUT`: train the base model and warm it up, resumable."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from filelock import FileLock, Timeout
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from kdst_core.errors import KdstError
from recipes.tools.model import build_model
from recipes.tools.recipe import BASE, WARM, Recipe, tokenizer_texts
from recipes.tools.score import scores
from recipes.tools.tokenizer import train_tokenizer
from recipes.tools.trainer import Trainer

SAVE_EVERY = 200
CURVE_EVERY = 100
SCORE_EVERY = 250


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit status."""
    given = _parser().parse_args(argv)
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(given.out / "train.lock", timeout=0):
            base, warm = recipes(given)
            tokenizer = _tokenizer(given.out, given.seed)
            model = train(base, _untrained(base, tokenizer), tokenizer, given.out)
            train(warm, model, tokenizer, given.out)
    except Timeout:
        print(f"another process trains in {given.out}", file=sys.stderr)
        return 2
    except KdstError as error:
        print(f"cannot train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command continues from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m recipes.tools", description=__doc__)
    parser.add_argument("out", type=Path, help="directory of the run; an old run there continues")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    for recipe in (BASE, WARM):
        for name in ("steps", "lr"):
            value = getattr(recipe, name)
            parser.add_argument(f"--{recipe.stage}-{name}", type=type(value), default=value)
    parser.add_argument("--demonstrations", type=int, default=WARM.demonstrations)
    parser.add_argument("--useless", type=float, default=WARM.useless)
    return parser


def recipes(given: argparse.Namespace) -> tuple[Recipe, Recipe]:
    """Return the recipes of both stages as the command line changes them."""
    base = attrs.evolve(BASE, seed=given.seed, steps=given.base_steps, lr=given.base_lr)
    warm = attrs.evolve(WARM, seed=given.seed, steps=given.warm_steps, lr=given.warm_lr,
                        demonstrations=given.demonstrations, useless=given.useless)  # fmt: skip
    return base, warm


def _tokenizer(out: Path, seed: int) -> PreTrainedTokenizerFast:
    if not (out / "tokenizer.json").exists():
        train_tokenizer(tokenizer_texts(seed)).save_pretrained(out)
    return PreTrainedTokenizerFast.from_pretrained(out)


def _untrained(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    shape = {"width": recipe.width, "layers": recipe.layers, "heads": recipe.heads}
    return build_model(len(tokenizer), recipe.seed, **shape)


def train(
    recipe: Recipe, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path
) -> LlamaForCausalLM:
    """Train one stage to its end: `STAGE.pt`, `STAGE.jsonl` and the weights in `STAGE/`."""
    trainer, state = Trainer(recipe, model, tokenizer), out / f"{recipe.stage}.pt"
    curve = Curve(out / f"{recipe.stage}.jsonl")
    if state.exists():
        trainer.load(state)
    curve.cut(trainer.step)
    losses: list[float] = []
    for loss in trainer.run():
        losses.append(loss)
        last = trainer.step == recipe.steps
        if trainer.step % CURVE_EVERY == 0 or last:
            curve.add(trainer, losses, scored=last or trainer.step % SCORE_EVERY == 0)
            losses.clear()
        if trainer.step % SAVE_EVERY == 0 or last:
            trainer.save(state)
    export(model, tokenizer, out / recipe.stage)
    return model


class Curve:
    """The log of a stage, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def cut(self, step: int) -> None:
        """Drop what was logged after the step that training goes on from."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        self.path.write_text("".join(f"{line}\n" for line in kept))

    def add(self, trainer: Trainer, losses: list[float], scored: bool) -> None:
        """Append the mean loss since the last row, and scores where they are asked for."""
        row: dict[str, Any] = {"step": trainer.step, "loss": sum(losses) / len(losses)}
        row |= {"tokens": trainer.tokens, "cpu_seconds": round(trainer.cpu)}
        if scored:
            row |= scores(trainer.model.eval(), trainer.tokenizer)
            trainer.model.train()
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{trainer.recipe.stage} {row}", file=sys.stderr, flush=True)


def export(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write the weights as half-precision safetensors, with the tokenizer beside them."""
    whole: Any = model.eval()
    whole.half().save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    whole.float()


if __name__ == "__main__":
    sys.exit(main())
