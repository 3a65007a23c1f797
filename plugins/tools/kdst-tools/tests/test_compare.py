"""Runs of tool use are compared problem by problem."""

import json
from pathlib import Path
from typing import Any

import pytest

from kdst_batch.comparable import Comparable, Contender
from kdst_core.errors import KdstError
from kdst_tools.bench import bench
from kdst_tools.compare import columns, comparison, mismatch, paired
from kdst_tools.inputs import ToolsInputs


def run(folder: Path, right: list[bool], prompts: list[str] | None = None) -> dict[str, Any]:
    """The result of a run that solved some problems, and its evaluation."""
    asked = prompts or [f"problem {n}" for n in range(len(right))]
    rows = [{"prompt": p, "after": {"right": r}} for p, r in zip(asked, right, strict=True)]
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps({"problems": rows}))
    share = sum(right) / len(right)
    return {
        "artifacts": {"evaluation.json": "evaluation.json"},
        "metrics": {"exact.after": share, "exact.before": 0.25},
        "input": {"model": "tiny", "day": "2024-03-15"},
    }


def contender(folder: Path, *seeds: list[bool]) -> Contender:
    places = [folder / str(n) for n in range(len(seeds))]
    results = [run(place, right) for place, right in zip(places, seeds, strict=True)]
    return Contender(folder.name, results, places)


def test_the_bench_offers_everything_that_a_comparison_asks(tmp_path):
    names = [name for name in vars(Comparable) if not name.startswith("_")]
    assert {"seeded", "columns", "mismatch", "paired", "comparison"} <= set(names)
    assert all(callable(getattr(bench, name)) for name in names)
    assert bench.seeded(ToolsInputs()) is True
    assert bench.seeded(ToolsInputs(texts=tmp_path / "texts.txt")) is False


def test_a_difference_is_paired_by_problem(tmp_path):
    ours = contender(tmp_path / "ours", [True, True, False, True])
    theirs = contender(tmp_path / "theirs", [True, False, False, False])
    gap, error = paired(ours, theirs)
    assert gap == 0.5
    assert error == pytest.approx((1 / 3 / 4) ** 0.5)


def test_the_same_answers_differ_by_nothing_surely(tmp_path):
    right = [True, False, True]
    ours, theirs = (contender(tmp_path / name, right, right) for name in ("ours", "theirs"))
    assert paired(ours, theirs) == (0.0, 0.0)


def test_one_seed_is_held_against_each_of_the_other(tmp_path):
    ours = contender(tmp_path / "ours", [True, True], [True, False])
    theirs = contender(tmp_path / "theirs", [False, False])
    assert paired(ours, theirs)[0] == 0.75


def test_other_problems_are_refused(tmp_path):
    ours = contender(tmp_path / "ours", [True])
    other = Contender("other", [run(tmp_path / "other", [True], ["another"])], [tmp_path / "other"])
    with pytest.raises(KdstError, match="ours and other were measured on other problems"):
        paired(ours, other)


def test_a_run_without_problems_says_what_to_do(tmp_path):
    ours = contender(tmp_path / "ours", [True])
    bare = Contender("bare", [{"artifacts": {}, "metrics": {}, "input": {}}], [tmp_path])
    with pytest.raises(KdstError, match=r"was not measured on problems.*\n.*--problems"):
        paired(ours, bare)


def test_columns_are_those_that_a_run_has_and_protocols_must_agree(tmp_path):
    result = run(tmp_path / "run", [True, False])
    assert [c.metric for c in columns(result)] == ["exact.after"]
    assert [c.metric for c in columns({"metrics": {"count.kept": 3}})] == ["count.kept"]
    other = {**result, "input": {**result["input"], "day": "2024-03-16"}}
    assert mismatch(result, result) == ""
    assert mismatch(result, other) == "day is 2024-03-15 in one and 2024-03-16 in the other"


def test_a_comparison_shows_who_solved_most(tmp_path):
    ours = contender(tmp_path / "ours", [True, True])
    theirs = contender(tmp_path / "theirs", [True, False])
    (stat,), (figure,) = comparison([theirs, ours])
    assert (stat.value, stat.note) == ("ours", "100.0% of the problems")
    assert "ours" in figure.svg
    assert comparison([Contender("none", [{"metrics": {}}], [tmp_path])]) == ([], [])
