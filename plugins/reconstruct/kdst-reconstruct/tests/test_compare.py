"""Fits are compared over the same held-out views, paired by view."""

import json
import math
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from kdst_batch.comparable import Contender
from kdst_batch.statistics import Z_975
from kdst_core.errors import KdstError
from kdst_reconstruct import compare
from kdst_reconstruct.bench import bench
from kdst_reconstruct.inputs import ReconstructInputs

INPUT: dict[str, Any] = {
    "views": 20,
    "held_out": [0, 8, 16],
    "sizes": ["64x48"],
    "masks": 0,
    "capture_digest": "a",
}


def contender(place: Path, label: str, *runs: list[float]) -> Contender:
    """What a comparison has of a method: PSNR of each held-out view, one list a seed."""
    directories, results = [], []
    for number, psnr in enumerate(runs):
        directory = place / f"{label}-{number}"
        (directory / "artifacts").mkdir(parents=True)
        views = [{"name": f"{k:02d}.png", "psnr": v, "ssim": 0.9} for k, v in enumerate(psnr)]
        trace = {"iterations": [50, 100], "psnr": [1.0, float(np.mean(psnr))], "views": views}
        (directory / "artifacts" / "trace.json").write_text(json.dumps(trace))
        directories.append(directory)
        results.append({"metrics": {"psnr.holdout": float(np.mean(psnr))}, "input": INPUT})
    return Contender(label, results, directories)


def test_views_are_paired_and_few_of_them_widen_the_interval(tmp_path: Path) -> None:
    ours = contender(tmp_path, "ours", [21.0, 31.0, 26.0])
    theirs = contender(tmp_path, "theirs", [20.0, 29.0, 25.0])
    difference, error = bench.paired(ours, theirs)
    gaps = np.array([1.0, 2.0, 1.0])
    assert difference == pytest.approx(gaps.mean())
    of_t = 4.303 * gaps.std(ddof=1) / math.sqrt(3)  # .975 quantile of t with 2 degrees of freedom
    assert Z_975 * error == pytest.approx(of_t)
    back, same = bench.paired(theirs, ours)
    assert (back, same) == pytest.approx((-difference, error))


def test_one_view_tells_no_error(tmp_path: Path) -> None:
    one = [contender(tmp_path, name, [value]) for name, value in (("ours", 21.0), ("theirs", 20))]
    assert bench.paired(*one) == (1.0, math.inf)


def test_seeds_add_their_own_error(tmp_path: Path) -> None:
    ours = contender(tmp_path, "ours", [21.0, 22.0], [23.0, 24.0])
    theirs = contender(tmp_path, "theirs", [20.0, 21.0], [20.0, 21.0])
    difference, error = bench.paired(ours, theirs)
    assert difference == pytest.approx(2.0)
    # every view gains as much, seeds differ: 1 and 3
    assert error == pytest.approx(12.706 / Z_975 * math.sqrt(2) / math.sqrt(2))
    alone = contender(tmp_path, "alone", [20.0, 21.0])
    assert bench.paired(ours, alone) == pytest.approx((difference, error))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"held_out": [1, 8, 16]}, "held-out views are 0, 8, 16 and 1, 8, 16"),
        ({"views": 21}, "views are 20 and 21"),
        ({"sizes": ["32x24"]}, "sizes of the photographs are 64x48 and 32x24"),
        ({"capture_digest": "b"}, "photographs or cameras differ"),
        ({"held_out": []}, "no view was held out"),
    ],
)
def test_what_was_measured_otherwise_is_not_compared(change: dict[str, Any], said: str) -> None:
    found = bench.mismatch({"input": INPUT}, {"input": {**INPUT, **change}})
    assert said in found
    assert bool(found) == bool(said)


@pytest.mark.parametrize("text", [None, "{", '{"views": 3}', '{"views": []}', "[]"])
def test_scores_that_cannot_be_read_are_named(tmp_path: Path, text: str | None) -> None:
    ours = contender(tmp_path, "ours", [20.0, 21.0])
    path = ours.directories[0] / "artifacts" / "trace.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(KdstError, match=r"cannot read .*trace\.json"):
        bench.paired(ours, contender(tmp_path, "theirs", [20.0, 21.0]))


def test_runs_of_other_views_are_not_paired(tmp_path: Path) -> None:
    with pytest.raises(KdstError, match="two methods scored different numbers"):
        bench.paired(
            contender(tmp_path, "ours", [20.0, 21.0]), contender(tmp_path, "theirs", [20.0])
        )
    with pytest.raises(KdstError, match="one method scored different numbers"):
        bench.paired(
            contender(tmp_path, "odd", [20.0], [20.0, 21.0]), contender(tmp_path, "other", [20.0])
        )


def test_the_report_of_a_comparison_has_its_numbers_and_pictures(tmp_path: Path) -> None:
    both = [contender(tmp_path, "ours", [21.0, 22.0]), contender(tmp_path, "theirs", [20.0, 25.0])]
    stats, figures = bench.comparison(both)
    assert [stat.value for stat in stats] == ["3", "22.50"]
    assert stats[1].note == "theirs"
    assert [figure.title for figure in figures] == [
        "PSNR of each held-out view",
        "PSNR along the fits",
    ]
    assert all("<svg" in str(figure.svg) for figure in figures)


def test_psnr_ranks_and_the_capture_needs_no_seed() -> None:
    assert bench.columns({})[0].metric == "psnr.holdout"
    assert {c.metric: c.better for c in compare.COLUMNS}["lpips.holdout"] == "lower"
    assert not bench.seeded(attrs.evolve(ReconstructInputs(), holdout="0"))
