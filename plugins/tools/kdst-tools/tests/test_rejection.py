"""The baseline by rejection sampling: right answers of problems that nothing is measured on."""

import json

import pytest

import kdst_core
from kdst_core.errors import KdstError
from kdst_tools import load
from kdst_tools.calls import plain
from kdst_tools.default import problems
from kdst_tools.evaluation import sets
from kdst_tools.evaluation.rejection import annotations, options_of
from kdst_tools.inputs import ToolsInputs
from kdst_tools.options import StagedOptions

pytest.importorskip("kdst_toolformer")
FEW = {"documents": 24, "problem_count": 6, "held_out_count": 4, "steps": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def practice(tmp_path_factory):
    """Problems with answers, one of them measured on."""
    rows = [*problems(12, seed=5), problems(6)[0]]
    path = tmp_path_factory.mktemp("practice") / "problems.jsonl"
    lines = [
        json.dumps({"question": p.prompt, "answer": f"#### {p.answer}"})
        for p in rows
        if p.answer.isdigit()
    ]
    path.write_text("\n".join(lines))
    return path, len(lines)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "GENERATED", 16)
        return kdst_core.run(
            "toolformer",
            out=tmp_path_factory.mktemp("run") / "run",
            baseline="rejection",
            baseline_samples=2,
            **FEW,
        )


def test_what_is_right_is_kept_once_and_trained_on(done):
    path = done.directory / "baseline" / "kept.jsonl"
    counts, *rows = map(json.loads, path.read_text().splitlines())
    assert counts["samples"] == done.metrics["baseline.samples"] == 2
    assert done.metrics["baseline.answers"] == counts["answers"] >= counts["right"] >= len(rows) > 0
    assert len({(row["prompt"], row["annotated"]) for row in rows}) == len(rows)
    assert (done.directory / "baseline" / "model" / "model.safetensors").is_file()
    assert 0 <= done.metrics["exact.rejection.low"] <= done.metrics["exact.rejection"] <= 1
    assert json.loads((done.directory / "artifacts" / "cost.json").read_text())["baseline"] > 0
    page = (done.directory / "report.html").read_text(encoding="utf-8")
    assert "rejection sampling, with tools" in page


def test_problems_that_are_measured_on_are_left_out(practice):
    inputs = ToolsInputs(baseline_problems=f"gsm8k:{practice[0]}")
    measured = sets.load(f"gsm8k:{practice[0]}", 3)
    left = load.practice(inputs, measured)
    assert len(left) == practice[1] - 3
    assert not {p.prompt for p in left} & {p.prompt for p in measured}


def test_annotations_give_prompts_and_answers_back():
    (found,) = annotations([{"prompt": "A [b] is", "annotated": " [Calculator(1 + 1) -> 2] 2."}])
    assert plain(found.text) == "A [b] is 2."


def test_a_method_without_a_temperature_is_refused():
    with pytest.raises(KdstError, match="no option temperature"):
        options_of(StagedOptions(), 1.0)


def test_problems_that_are_all_measured_on_are_refused(tmp_path, practice):
    with pytest.raises(
        KdstError, match=r"--baseline-problems .* has no problem that is not measured"
    ):
        kdst_core.run(
            "toolformer",
            out=tmp_path / "run",
            baseline="rejection",
            problems=f"gsm8k:{practice[0]}",
            baseline_problems=f"gsm8k:{practice[0]}",
            **{**FEW, "problem_count": 100},
        )


def test_a_missing_file_of_the_baseline_is_named_by_its_flag(tmp_path):
    with pytest.raises(KdstError, match=r"--baseline-problems svamp:none.json: no such file"):
        kdst_core.run(
            "toolformer",
            out=tmp_path / "run",
            baseline="rejection",
            baseline_problems="svamp:none.json",
            **FEW,
        )
