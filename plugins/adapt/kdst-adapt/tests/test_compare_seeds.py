"""Comparisons over seeds that draw their own images: paired within a seed."""

import json
from pathlib import Path

import numpy as np
import pytest

from kdst_adapt.comparison import unpack
from kdst_core.compare import compare


def test_seeds_of_an_imbalanced_stream_keep_different_images_and_are_compared(
    tmp_path: Path,
) -> None:
    found = compare(
        ["norm", "source"],
        seeds=[0, 1],
        out=tmp_path / "c",
        runs=tmp_path / "runs",
        types="fog",
        images=70,
        batch_size=20,
        imbalance=3.0,
    )
    assert not found.lost
    best, other = found.groups[""]
    runs = json.loads((tmp_path / "c" / "comparison.json").read_text())["runs"]
    correct = {name: unpack(tmp_path / place)[0] for place, name in runs.items()}
    assert len(correct["norm seed 0"]) != len(correct["norm seed 1"]), "the case is void"
    pairs = [correct[f"norm seed {s}"].mean() - correct[f"source seed {s}"].mean() for s in (0, 1)]
    assert best.label == "norm"
    assert other.test is not None
    assert other.test.difference == pytest.approx(-float(np.mean(pairs)))
    assert other.test.low < other.test.difference < other.test.high
