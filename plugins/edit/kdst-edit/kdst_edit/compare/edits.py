"""The edits of compared runs: their measures, and where their pictures lie."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, variance
from typing import Any

from attrs import frozen

from kdst_batch.comparable import Contender
from kdst_core.errors import KdstError

MEASURE = "background_psnr"
"""What methods are ranked by: how far the rest of the picture stays what it was."""
Gains = list[list[float]]
"""Numbers, often differences of two methods: a list for each seed, with a number for each target."""


@frozen
class Edited:
    """One edit of a run: its measures, those without control, its prompts and its pictures."""

    scores: Mapping[str, float]
    plain: Mapping[str, float]
    source: str
    target: str
    seed: int
    directory: Path
    number: int

    def picture(self, stem: str) -> Path:
        """Return the file of a picture of this target, such as `edit.png` or `edit-2.png`."""
        name = stem if self.number == 0 or stem == "source" else f"{stem}-{self.number + 1}"
        return self.directory / "artifacts" / f"{name}.png"


def edits_of(who: Contender) -> list[list[Edited]]:
    """Return the edits of a method, a list for each seed; KdstError where a run does not hold them."""
    return [_read(result, d) for result, d in zip(who.results, who.directories, strict=True)]


def _read(result: Mapping[str, Any], directory: Path) -> list[Edited]:
    """Return the edits of a run, in the order of its targets."""
    path = directory / "artifacts" / "scores.json"
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        rows = [dict(row) for row in table["edit"]]
        for row in rows:
            float(row[MEASURE])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise KdstError(f"cannot read {path}, which a comparison needs: {e}") from e
    plain = table.get("plain") or [{}] * len(rows)
    targets = table.get("targets") or [""] * len(rows)
    source, seed = str(result["input"].get("source") or ""), int(result.get("seed") or 0)
    return [
        Edited(row, p, source, target, seed, directory, number)
        for number, (row, p, target) in enumerate(zip(rows, plain, targets, strict=True))
    ]


def values(edits: Sequence[Sequence[Edited]], name: str, plain: bool = False) -> Gains | None:
    """Return a measure by seed and target; None where an edit lacks it."""
    rows = [[e.plain if plain else e.scores for e in seed] for seed in edits]
    if not all(name in row for seed in rows for row in seed):
        return None
    return [[float(row[name]) for row in seed] for seed in rows]


def standard_error(gains: Gains) -> float:
    """Return the standard error of the mean over seeds and targets; inf for a single number."""
    by_seed = [fmean(row) for row in gains]
    by_target = [fmean(column) for column in zip(*gains, strict=True)]
    parts = [variance(x) / len(x) for x in (by_seed, by_target) if len(x) > 1]
    return math.sqrt(sum(parts)) if parts else math.inf
