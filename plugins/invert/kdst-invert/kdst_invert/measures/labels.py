"""What reports share: names of measures, and artifacts of a run as they are read back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdst_core.errors import KdstError

LABELS = {
    "exact": "exact match",
    "token_f1": "token F1",
    "unit_f1": "unit F1",
    "bleu": "BLEU",
    "cosine": "cosine",
    "names": "full names",
}
"""Measures as tables and curves name them."""


def read_json(result: Mapping[str, Any], directory: Path, name: str) -> Any:
    """Return an artifact of the run; KdstError when it is gone."""
    path = directory / result["artifacts"][name]
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise KdstError(f"cannot read {path}, which the report needs: {e}") from e
