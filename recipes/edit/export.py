"""The averaged weights of a run that has not ended, as a directory that diffusers loads."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from kdst_core.errors import first_line
from recipes.edit.training import Course, Training


def export(
    argv: Sequence[str] | None,
    recipe: type[Course],
    trainer: Callable[[Any, torch.device], Training],
) -> int:
    """Write the average at the last checkpoint of a run; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="directory of a training run")
    parser.add_argument("weights", type=Path, help="directory to write")
    options = parser.parse_args(argv)
    try:
        history = json.loads((options.run / "recipe.json").read_text())
        training = trainer(recipe(**history[-1]["recipe"]), torch.device("cpu"))
        training.load(options.run / "state.pt")
    except (OSError, ValueError, RuntimeError) as error:
        print(f"cannot export {options.run}: {first_line(error)}", file=sys.stderr)
        return 2
    training.averaged().save_pretrained(options.weights)
    print(f"{options.weights}: the average after {training.step} steps")
    return 0
