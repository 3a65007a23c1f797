"""Comparisons: paired within a seed where each draws its own images, and checked before any run."""

import json
from pathlib import Path

import numpy as np
import pytest

from kdst_adapt.compare.pairing import unpack
from kdst_batch.compare import compare
from kdst_core.errors import KdstError


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "npz:d.npz"}, "eata needs source data"),
        ({"study": "generation"}, "needs a method that adapts, norm does not"),
    ],
)
def test_what_one_method_cannot_run_on_is_refused_before_any_runs(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    pytest.importorskip("kdst_eata")
    with pytest.raises(KdstError, match=message):
        compare(["norm", "eata"], runs=tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()
