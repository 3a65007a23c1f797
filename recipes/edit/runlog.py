"""The files of a training run that must stay true when it is killed and continued."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from kdst_core.files import write_atomically
from recipes.edit.training import Course


class RecipeChanged(Exception):
    """A run was continued with options that differ from those it began with."""


def check_recipe(path: Path, recipe: Course, step: int, *, amend: bool) -> None:
    """Keep in `path` which recipe holds from which step on.

    A first run writes it. A changed recipe raises `RecipeChanged`, unless `amend` adds it.
    """
    history = json.loads(path.read_text()) if path.exists() else []
    now = dataclasses.asdict(recipe)
    if history:
        before = history[-1]["recipe"]
        changed = [f"{k} {before.get(k)} → {v}" for k, v in now.items() if before.get(k) != v]
        if not changed:
            return
        if not amend:
            raise RecipeChanged(
                f"this run began with other options ({', '.join(changed)}); "
                "repeat those, choose another directory, or add --amend"
            )
    history.append({"from_step": step, "recipe": now})
    write_atomically(path, json.dumps(history, indent=1) + "\n")


class Log:
    """A JSON-lines file; opening it at `step` drops the rows that a killed run wrote after it."""

    def __init__(self, path: Path, step: int) -> None:
        lines = path.read_text().splitlines() if path.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("}")]
        self.rows = [row for row in rows if row["step"] <= step]
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in self.rows))
        self._file = path.open("a", buffering=1)

    def write(self, **row: Any) -> None:
        """Append one row."""
        self._file.write(json.dumps(row) + "\n")
        self.rows.append(row)

    def recent(self, name: str) -> float:
        """The mean of `name` over the last 100 rows."""
        values = [row[name] for row in self.rows[-100:]]
        return float(sum(values) / max(len(values), 1))
