"""Methods are compared by what they keep on the same targets and noise."""

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kdst_batch.comparable import Comparable, Contender
from kdst_core.errors import KdstError
from kdst_edit import compare
from kdst_edit.bench import bench
from kdst_edit.compare import kinds, sheet
from kdst_edit.compare.frontier import Point, Share, first_of, picture, points, unbeaten
from kdst_edit.inputs import EditInputs
from kdst_edit.pictures.drawing import image_png

PROMPT = "a red disc on a white background"


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


def test_a_method_without_inversion_is_compared_with_one_that_inverts() -> None:
    def result(**given: Any) -> dict[str, Any]:
        return {"input": {"image": "a.png", **given}}

    direct, ddpm, none = result(inversion_kind="direct"), result(inversion_kind="ddpm"), result()
    assert compare.mismatch(direct, none) == compare.mismatch(none, ddpm) == ""
    assert "inversion_kind" in compare.mismatch(direct, ddpm)
    assert "image" in compare.mismatch(direct, {"input": {"image": "b.png"}})


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


def test_all_that_tie_are_named(tmp_path: Path) -> None:
    runs = {
        name: run(tmp_path / name, [kept], success=success)
        for name, kept, success in (("a", 30.0, 1.0), ("b", 40.0, 1.0), ("c", 40.0, 0.0))
    }
    stats, _ = bench.comparison([contender(name, each) for name, each in runs.items()])
    assert [s.value for s in stats] == ["b, c", "a, b"]


def test_a_method_whose_measure_could_not_be_told_is_not_first(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a", [30.0]), run(tmp_path / "b", [20.0])
    a[0]["metrics"]["background_psnr"] = None
    contenders = [contender("a", a), contender("b", b)]
    assert first_of(contenders, "background_psnr") == ("b", 20.0)
    assert first_of(contenders[:1], "background_psnr")[0] == "none could be told"


def measured(folder: Path, label: str, *edits: tuple[float, float], shade: float = 0.5) -> Any:
    """A method with runs of one target each, their measures and pictures."""
    runs = []
    for seed, (kept, success) in enumerate(edits):
        place = folder / f"{label}{seed}"
        result, _ = run(place, [kept], success, source=PROMPT, seed=seed)
        result["seed"], target = seed, PROMPT.replace("red", "blue")
        scores = [{"background_psnr": kept, "success": success}]
        table = {"edit": scores, "plain": [], "targets": [target]}
        (place / "artifacts" / "scores.json").write_text(json.dumps(table))
        for name, level in (("source", 0.1 * seed), ("edit", shade)):
            picture = image_png(torch.full((3, 8, 8), level))
            (place / "artifacts" / f"{name}.png").write_bytes(picture)
        runs.append((result, place))
    return contender(label, *runs)


def test_points_carry_intervals_over_seeds_and_targets(tmp_path: Path) -> None:
    kept, success = [30.0, 34.0, 29.0], [1.0, 0.0, 1.0]
    who = measured(tmp_path, "a", *zip(kept, success, strict=True))
    who.results[0]["metrics"].pop("plain.success")
    for result, k, s in zip(who.results, kept, success, strict=True):
        result["metrics"] |= {"background_psnr": k, "success": s}
    (point,) = points([who], "success")
    assert (point.kept.mean, point.done.mean) == pytest.approx((31.0, 2 / 3))
    error = 1.959963984540054 * np.std(kept, ddof=1) / math.sqrt(3)
    assert (point.kept.low, point.kept.high) == pytest.approx((31 - error, 31 + error))
    assert (point.done.low, point.done.high) == pytest.approx((0.2077, 0.9385), abs=1e-4)


def test_a_single_edit_has_a_success_interval_and_no_other(tmp_path: Path) -> None:
    who = measured(tmp_path, "a", (30.0, 1.0))
    who.results[0]["metrics"].pop("plain.success")
    (point,) = points([who], "success")
    assert math.isnan(point.kept.low)
    assert point.done.high == 1.0
    assert 0 < point.done.low < 1
    picture([point], "success")


def test_the_frontier_is_of_methods_that_none_beats_in_both() -> None:
    def at(label: str, kept: float, done: float) -> Point:
        return Point(label, Share(kept), Share(done))

    found = [at("strong", 20, 1.0), at("beaten", 19, 0.9), at("twin", 20, 1.0), at("weak", 40, 0.1)]
    assert [p.label for p in unbeaten(found)] == ["strong", "twin", "weak"]
    assert [p.label for p in unbeaten([at("untold", math.nan, 1.0), found[1]])] == ["beaten"]


def test_the_contact_sheet_begins_with_what_most_methods_failed_at(tmp_path: Path) -> None:
    a = measured(tmp_path, "a", (30.0, 1.0), (30.0, 0.0), (20.0, 0.0))
    b = measured(tmp_path, "b", (30.0, 1.0), (30.0, 0.0), (20.0, 1.0), shade=0.9)
    assert [[e.seed for e in row] for row in sheet.rows([a, b])] == [[1, 1], [2, 2], [0, 0]]
    figure = sheet.contact_sheet([a, b])
    assert figure is not None
    assert "1. “a blue disc on a white background” (seed 1)" in figure.caption
    with Image.open(io.BytesIO(figure.png)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    wide, (height, width, _) = pixels[..., 0], pixels.shape
    columns = [width // 6, width // 2, 5 * width // 6]
    first = [int(wide[height // 6, x]) for x in columns]
    assert first == [round(255 * v) for v in (0.1, 0.5, 0.9)]
    (tmp_path / "b0" / "artifacts" / "edit.png").unlink()
    assert sheet.contact_sheet([b]) is not None
    (tmp_path / "b1" / "artifacts" / "edit.png").unlink()
    (tmp_path / "b2" / "artifacts" / "edit.png").unlink()
    assert sheet.contact_sheet([b]) is None


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (PROMPT.replace("red", "blue"), "change colour"),
        (PROMPT.replace("disc", "ring"), "change object"),
        (PROMPT.replace("white", "pink"), "change background"),
        (PROMPT.replace("red", "striped red"), "change material"),
        ("a blue ring on a white background", "several at once"),
        ("a red disc above a blue bar on a white background", "add object"),
        ("a photograph of a cat", None),
        (PROMPT, None),
    ],
)
def test_prompts_tell_the_kind_of_an_edit(target: str, name: str | None) -> None:
    assert kinds.kind(PROMPT, target) == name


def test_methods_stand_in_rows_and_kinds_of_edit_in_columns(tmp_path: Path) -> None:
    a = measured(tmp_path, "a", (30.0, 1.0), (20.0, 0.0))
    table = kinds.table([a])
    assert table is not None
    assert list(table.header) == ["method", "change colour"]
    assert [list(row) for row in table.rows] == [["a", "50%, 25.0 dB (2)"]]
    assert kinds.table([contender("b", run(tmp_path / "other", [30.0]))]) is None


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
