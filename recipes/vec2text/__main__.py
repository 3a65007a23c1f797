"""`python -m recipes.vec2text RUN`: train the embedded inverter, resumable, and score it."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import torch
from filelock import FileLock, Timeout

from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_invert.embedders.minilm import minilm
from recipes.vec2text import stages
from recipes.vec2text.recipe import Recipe

STAGES = ("embed", "hypothesiser", "guesses", "corrector", "export")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit status."""
    options = vars(_parser().parse_args(argv))
    out, wanted = options.pop("out"), options.pop("stage")
    torch.set_num_threads(options.pop("threads"))
    flushed = sys.float_info.min / 2 == 0
    torch.set_flush_denormal(True)  # AdamW's moments sink into numbers that processors are slow at
    try:
        recipe = Recipe(**options)
        out.mkdir(parents=True, exist_ok=True)
        check_recipe(out / "recipe.json", recipe)
        shop = stages.Workshop(out, recipe, minilm())
        for stage in STAGES if wanted == "all" else [wanted]:
            with FileLock(out / f".{stage}.lock", timeout=0):
                carry_out(shop, stage)
    except Timeout:
        print(f"cannot train: another process is at the same stage in {out}", file=sys.stderr)
        return 2
    except KdstError as error:
        print(f"cannot train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command continues", file=sys.stderr)
        return 130
    finally:
        torch.set_flush_denormal(flushed)
    return 0


def carry_out(shop: stages.Workshop, stage: str) -> None:
    """One stage, from what is already there."""
    if stage == "embed":
        stages.embed_all(shop)
    elif stage == "hypothesiser":
        stages.hypothesiser(shop)
    elif stage == "guesses":
        stages.guess(shop)
    elif stage == "corrector":
        stages.corrector(shop)
    else:
        from recipes.vec2text.export import export

        export(shop)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m recipes.vec2text", description=__doc__)
    parser.add_argument("out", type=Path, help="directory of the training; one there continues")
    parser.add_argument(
        "--stage",
        choices=["all", *STAGES],
        default="all",
        help="one stage only; embed, hypothesiser and the first phase of corrector may run at once",
    )
    for field in attrs.fields(Recipe):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=type(field.default), default=field.default)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def check_recipe(path: Path, recipe: Recipe) -> None:
    """Keep the recipe beside the training; KdstError when it was begun with another one."""
    now = attrs.asdict(recipe)
    if not path.exists():
        write_atomically(path, json.dumps(now, indent=1) + "\n")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = [f"{k} {before.get(k)} -> {v}" for k, v in now.items() if before.get(k) != v]
    if changed:
        raise KdstError(
            f"{path.parent} was begun with other options ({', '.join(changed)});\n"
            "repeat those, or choose another directory"
        )


if __name__ == "__main__":
    sys.exit(main())
