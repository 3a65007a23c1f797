"""A run that taught nothing, or hardly anything, says so."""

import html
import json
from pathlib import Path
from typing import Any

import pytest

import kdst_core
from kdst_core.contracts import Document, ToolAnnotation
from kdst_tools.loop.rounds import taught
from kdst_tools.models import layouts
from kdst_tools.outcome.lessons import few_steps, nothing_kept


def counts(sampled: int, executed: int, kept: int) -> dict[str, int]:
    return {"sampled": sampled, "executed": executed, "failed": sampled - executed, "kept": kept}


@pytest.mark.parametrize(
    ("own", "advice"),
    [
        (counts(0, 0, 0), "lower --tau-s"),
        (counts(5, 0, 0), "All failed"),
        (counts(5, 3, 0), "None helped enough"),
    ],
)
def test_a_round_without_a_kept_call_is_told_with_where_calls_were_lost(own, advice):
    (said,) = nothing_kept({"1": {"Calculator": own}}, True)
    assert said.startswith("no call was kept in round 1, so the model learnt to use no tool:")
    assert f"{own['sampled']} sampled, {own['executed']} with a result" in said
    assert advice in said


def test_a_tool_without_a_kept_call_is_named_beside_one_that_has_some():
    rounds = {"2": {"Calculator": counts(5, 3, 1), "Calendar": counts(4, 4, 0)}}
    (said,) = nothing_kept(rounds, False)
    assert said.startswith("no call of Calendar was kept in round 2: 4 sampled")
    assert not list(nothing_kept({"1": {"Calculator": counts(5, 3, 1)}}, True))


def test_steps_are_counted_once_in_each_round():
    rows = [{"round": 1, "step": s, "loss": 1.0} for s in (1, 1)]
    rows += [{"round": 2, "step": s, "loss": 1.0} for s in range(1, 10)]
    rows += [{"round": 3, "step": s, "loss": 1.0} for s in range(1, 11)]
    one, nine = few_steps(rows, 8)
    assert "round 1 was only 1 step on 8 texts" in one
    assert "round 2 was only 9 steps on 8 texts" in nine
    assert "on those of 8 texts that have a call" in next(few_steps(rows, 8, "called"))


def test_result_and_report_say_that_nothing_was_learnt(tmp_path):
    pytest.importorskip("kdst_toolformer")
    tokenizer = layouts.tokenizer()
    (tmp_path / "texts.txt").write_text("\n\n".join(layouts.TEXTS))
    found = kdst_core.run(
        "toolformer",
        model=(layouts.model("gpt2", len(tokenizer), context=1024), tokenizer),
        texts=tmp_path / "texts.txt",
        out=tmp_path / "run",
        stage="finetune",
        max_input=4,
        k=["1"],
        m=["1"],
        device="cpu",
    )
    none, few = found.warnings
    assert "learnt to use no tool" in none
    assert "only 1 step on 4 texts" in few
    page = html.unescape((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert none in page
    assert few in page


@pytest.mark.parametrize("learn", ["all", "called"])
def test_what_finetuning_sees_can_be_the_texts_with_a_call(tmp_path: Path, learn: str) -> None:
    options: Any = {"learn": learn, "batch": 1, "epochs": 1}
    kdst_core.run("toolformer", out=tmp_path / "run", documents=24, stage="finetune", **options)
    folder = tmp_path / "run" / "artifacts"
    rows = [json.loads(line) for line in (folder / "annotations.jsonl").read_text().splitlines()]
    called = sum(any(call["kept"] for call in row["calls"]) for row in rows)
    assert 0 < called < len(rows)
    steps = len(json.loads((folder / "training.json").read_text()))
    assert steps == (called if learn == "called" else len(rows))


def test_all_texts_are_seen_where_none_has_a_call() -> None:
    texts = [ToolAnnotation(Document("a"), "a", ()), ToolAnnotation(Document("b"), "b", ())]
    assert taught(texts, "called") == texts
