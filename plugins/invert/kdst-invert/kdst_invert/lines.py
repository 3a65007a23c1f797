"""Lines of an inversion's file: what a method returned for a block, checked, a line a row."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdst_core.contracts import Inversion
from kdst_core.errors import KdstError

TOOK = ("step", "embedder_calls", "longest", "notes", "tokeniser")
"""What the last inversion of a block says of the whole block."""
PLACES = 6
"""Decimals of a cosine in the file."""


def check(inversion: Inversion, rows: range) -> None:
    """Raise KdstError when a method returned something else than a step of its block."""
    if not isinstance(inversion, Inversion):
        raise KdstError(f"the method returned a {type(inversion).__name__}, not an Inversion")
    if len(inversion.texts) != len(rows) or len(inversion.cosine) != len(rows):
        raise KdstError(
            f"the method returned {len(inversion.texts)} texts for a block of {len(rows)}"
        )


def rows_of(inversion: Inversion, rows: range) -> list[dict[str, Any]]:
    """The rows that a step worked on."""
    return [
        {
            "row": row,
            "step": inversion.step,
            "text": inversion.texts[i],
            "cosine": _known(float(inversion.cosine[i])),
        }
        for i, row in enumerate(rows)
        if not inversion.step or inversion.active is None or bool(inversion.active[i])
    ]


def _known(cosine: float) -> float | None:
    """A cosine as the file has it, None where the embedder was not asked."""
    return None if math.isnan(cosine) else round(cosine, PLACES)


def lines_of(inversion: Inversion, rows: range) -> bytes:
    """The rows that a step worked on, one line of JSON each."""
    return b"".join(map(line_of, rows_of(inversion, rows)))


def line_of(row: Mapping[str, Any]) -> bytes:
    """A row as a line of JSON."""
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of an attack's file."""
    with file.open(encoding="utf-8") as opened:
        for line in opened:
            yield json.loads(line)
