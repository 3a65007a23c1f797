"""`python -m recipes.edit_flow.export RUN WEIGHTS`: the averaged weights of a run so far."""

from __future__ import annotations

import sys

from recipes.edit.export import export
from recipes.edit_flow.trainer import Recipe, Trainer

if __name__ == "__main__":
    sys.exit(export(None, Recipe, Trainer))
