"""Methods are compared by what they keep on the same targets and noise."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdst_core.bench.compare import Comparable, Contender
from kdst_core.errors import KdstError
from kdst_edit import compare
from kdst_edit.bench import bench
from kdst_edit.inputs import EditInputs


def run(folder: Path, kept: list[float], success: float = 1.0, **given: Any) -> Any:
    """The result of a run towards some targets, and its directory."""
    (folder / "artifacts").mkdir(parents=True)
    rows = {"edit": [{"background_psnr": value} for value in kept]}
    (folder / "artifacts" / "scores.json").write_text(json.dumps(rows))
    metrics = {"background_psnr": float(np.mean(kept)), "success": success, "mask_iou": 0.5}
    plain = {"plain.background_psnr": 9.0, "plain.success": 1.0}
    return {"metrics": {**metrics, **plain}, "input": {"target": "a cat", **given}}, folder


def contender(label: str, *runs: Any) -> Contender:
    """A method with a run a seed."""
    return Contender(label, [r for r, _ in runs], [d for _, d in runs])


def test_the_bench_can_be_compared_by() -> None:
    assert hasattr(bench, "comparison")
    found: Comparable = bench
    assert found.seeded(EditInputs())
    assert not found.seeded(EditInputs(image=Path("a.png")))
    assert found.seeded(EditInputs(image=Path("a.png"), inversion="ddpm"))
    assert next(iter(found.columns({}))).metric == "background_psnr"


def test_the_difference_is_that_of_targets_within_a_seed(tmp_path: Path) -> None:
    a = contender("a", run(tmp_path / "a", [30.0, 20.0, 25.0]))
    b = contender("b", run(tmp_path / "b", [28.0, 19.0, 22.0]))
    difference, error = bench.paired(b, a)
    gaps = np.array([-2.0, -1.0, -3.0])
    assert difference == pytest.approx(gaps.mean())
    assert error == pytest.approx(math.sqrt(gaps.var(ddof=1) / 3))


def test_seeds_add_their_error_to_that_of_targets(tmp_path: Path) -> None:
    kept = {"a": ([30.0, 20.0], [34.0, 22.0]), "b": ([29.0, 18.0], [30.0, 21.0])}
    who = {
        name: contender(name, *(run(tmp_path / f"{name}{n}", k) for n, k in enumerate(lists)))
        for name, lists in kept.items()
    }
    difference, error = compare.paired(who["a"], who["b"])
    gaps = np.subtract(*kept.values())
    assert difference == pytest.approx(gaps.mean())
    wanted = gaps.mean(1).var(ddof=1) / 2 + gaps.mean(0).var(ddof=1) / 2
    assert error == pytest.approx(math.sqrt(wanted))


def test_a_single_pair_tells_nothing(tmp_path: Path) -> None:
    a, b = (contender(n, run(tmp_path / n, [k])) for n, k in (("a", 30.0), ("b", 20.0)))
    assert compare.paired(a, b) == (10.0, math.inf)


def test_runs_of_other_numbers_of_targets_or_without_figures_are_refused(tmp_path: Path) -> None:
    a = contender("a", run(tmp_path / "a", [30.0, 20.0]))
    b = contender("b", run(tmp_path / "b", [30.0]))
    with pytest.raises(KdstError, match="other numbers of targets"):
        compare.paired(a, b)
    (tmp_path / "b" / "artifacts" / "scores.json").write_text("{}")
    with pytest.raises(KdstError, match="a comparison needs"):
        compare.paired(b, b)


def test_only_one_protocol_is_compared(tmp_path: Path) -> None:
    ours, same, other = (
        run(tmp_path / name, [1.0], image=f"/{name}/photo.png", steps=steps)[0]
        for name, steps in (("a", 50), ("b", 50), ("c", 20))
    )
    assert compare.mismatch(ours, same) == ""
    assert compare.mismatch(ours, other) == "steps is 50 in one and 20 in the other"


def test_who_keeps_most_and_who_does_what_was_asked_are_named(tmp_path: Path) -> None:
    a = contender("a", run(tmp_path / "a", [40.0], success=0.0))
    b = contender("b", run(tmp_path / "b", [30.0], success=1.0))
    stats, (figure,) = bench.comparison([a, b])
    assert [(s.label, s.value) for s in stats] == [("kept most", "a"), ("highest success, %", "b")]
    assert "without control" in figure.svg


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_methods_are_compared_by_their_runs(tmp_path: Path, seeds: list[int]) -> None:
    for package in ("kdst_p2p", "kdst_masactrl"):
        pytest.importorskip(package)
    batch = pytest.importorskip("kdst_batch.compare")
    found = batch.compare(
        ["p2p", "masactrl"],
        seeds=seeds,
        out=tmp_path / "c",
        runs=tmp_path / "runs",
        steps=3,
        target="a blue disc on a white background",
        source="a red disc on a white background",
    )
    assert not found.lost
    rows = {row.label: row for row in found.groups[""]}
    (test,) = (row.test for row in rows.values() if row.test is not None)
    runs = json.loads((tmp_path / "c" / "comparison.json").read_text(encoding="utf-8"))["runs"]
    assert len(runs) == 2 * len(seeds)
    kept = [row.values[0].mean for row in rows.values()]
    assert test.difference == pytest.approx(min(kept) - max(kept))
    if len(seeds) == 1:
        assert test.p == 1.0
    else:
        assert test.low < test.difference < test.high
