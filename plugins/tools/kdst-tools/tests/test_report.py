"""The report of a run, from a result and its artifacts."""

import json
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest

from kdst_core.contracts import Document, ToolCall
from kdst_core.errors import KdstError
from kdst_core.reports.blocks import Figure, Marked, Table
from kdst_tools.calls import write
from kdst_tools.default import documents
from kdst_tools.report import content, highlight

LOSSES = {"L_empty": 2.5, "L_call": 2.75, "L_full": 0.5}


def a_run(directory: Path) -> dict[str, Any]:
    """A result with artifacts as a run of the embedded model writes them."""
    annotations, calls = [], []
    for text in documents(20, Random("round 0 1")):
        document = Document(text.text)
        own = [
            ToolCall(document.id, 3, h.tool, h.input, h.answer, 0.9, gain=2.0, kept=True,
                     offset=h.offset, **LOSSES)
            for h in text.helps
        ]  # fmt: skip
        wrong = ToolCall(document.id, 1, "Calculator", "1 + 1", "2", 0.1, gain=-0.5,
                         reason="gain below 1", offset=4, **LOSSES)  # fmt: skip
        found = [attrs.asdict(call) for call in [wrong, *own]]
        annotations.append({"doc": document.id, "text": text.text, "annotated": "", "calls": found})
        calls += found
    said = {"text": " 4.", "annotated": " [Calculator(2 + 2) -> 4] 4.", "calls": [], "right": True}
    files = {
        "annotations.jsonl": "\n".join(map(json.dumps, annotations)),
        "calls.jsonl": "\n".join(map(json.dumps, calls)),
        "counts.json": json.dumps({"1": {"Calculator": {"sampled": 9, "executed": 8, "failed": 1,
                                                        "kept": 7}}}),
        "reasons.json": json.dumps({"1": {"gain below 1": 2, "division <by> zero": 1},
                                    "2": {"gain below 1": 1}}),
        "training.json": json.dumps([{"round": 1, "step": s, "loss": 1 / s} for s in (1, 2, 3)]),
        "evaluation.json": json.dumps({"problems": [{"prompt": "2 and 2 <b>", "answer": "4",
                                                     "after": said}], "plain": []}),
        "cost.json": json.dumps({"annotate": 14.0, "finetune": 5.0}),
    }  # fmt: skip
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    metrics = {"problems": 1.0, "count.kept": 7.0, "count.sampled": 9.0, "false_calls": 0.0,
               "perplexity.plain.before": 3.0, "perplexity.plain.after": 3.1}  # fmt: skip
    for name in ("exact.before", "exact.after", "filter.precision", "filter.recall"):
        metrics |= {name: 0.5, f"{name}.low": 0.4, f"{name}.high": 0.6}
    return {
        "artifacts": {name: name for name in files},
        "metrics": metrics,
        "input": {"model": "tiny", "texts": None, "documents": 20, "tools": ["calculator"]},
        "options": {"rounds": 1, "tau_f": ["1.0", "Calendar=0.5"]},
        "seed": 0,
    }


def test_a_full_run_shows_every_part(tmp_path: Path) -> None:
    found = content(a_run(tmp_path), tmp_path)
    assert [block.title for block in found.blocks] == [
        "Exact match", "Finetuning", "Gains", "The filter over its threshold",
        "Texts with their calls", "Problems", "Calls at each stage", "Why calls were not kept",
        "What it cost",
    ]  # fmt: skip
    assert {type(block) for block in found.blocks} == {Figure, Marked, Table}
    assert found.stats[0].value == "50.0%"
    counts = next(block for block in found.blocks if block.title == "Calls at each stage")
    assert isinstance(counts, Table)
    assert counts.rows == [["round 1, Calculator", "9", "8", "1", "7"]]


def test_the_calls_on_problems_stand_in_a_table(tmp_path: Path) -> None:
    result = a_run(tmp_path)
    for name in ("made", "right"):
        share = f"calls.after.{name}"
        result["metrics"] |= {share: 0.5, f"{share}.low": 0.4, f"{share}.high": 0.6}
    table = next(b for b in content(result, tmp_path).blocks if b.title == "Calls on the problems")
    assert isinstance(table, Table)
    assert table.rows == [["after", "50.0% (40.0% to 60.0%)", "50.0% (40.0% to 60.0%)", "–"]]


def test_marked_texts_are_the_texts_with_calls_between_their_characters(tmp_path: Path) -> None:
    a_run(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "annotations.jsonl").read_text().splitlines()]
    for row in rows:
        spans = highlight.text(row)
        assert "".join(span.text for span in spans if span.series is None) == row["text"]
        kept = [span.text for span in spans if span.series == highlight.KEPT]
        calls = [call for call in row["calls"] if call["kept"]]
        assert kept == [f"{write(c['tool'], c['input'], c['result'])} +2.00" for c in calls]


def test_a_run_that_stopped_early_shows_what_it_has(tmp_path: Path) -> None:
    result = a_run(tmp_path)
    result["artifacts"] = {"counts.json": "counts.json"}
    result["metrics"] = {"count.kept": 0.0, "count.sampled": 9.0}
    assert [block.title for block in content(result, tmp_path).blocks] == ["Calls at each stage"]


def test_a_run_on_a_users_texts_claims_no_truth(tmp_path: Path) -> None:
    result = a_run(tmp_path)
    result["input"] |= {"texts": "mine.jsonl", "model": "somewhere"}
    titles = [block.title for block in content(result, tmp_path).blocks]
    assert "Gains" in titles
    assert "The filter over its threshold" not in titles


def test_one_prompt_is_shown_with_its_calls_marked(tmp_path: Path) -> None:
    said = {"prompt": "2 and 2 is", "annotated": " [Calculator(2 + 2) -> 4] 4 &#91;sic&#93;."}
    (tmp_path / "generation.json").write_text(json.dumps(said))
    result = {"artifacts": {"generation.json": "generation.json"},
              "metrics": {"calls": 1.0, "tokens": 9.0}}  # fmt: skip
    (block,) = content(result, tmp_path).blocks
    assert isinstance(block, Marked)
    (spans,) = block.paragraphs
    assert [span.text for span in spans] == [
        "2 and 2 is", " [Calculator(2 + 2) -> 4]", " 4 [sic].",
    ]  # fmt: skip


def test_a_missing_artifact_is_one_line(tmp_path: Path) -> None:
    result = a_run(tmp_path)
    (tmp_path / "calls.jsonl").unlink()
    with pytest.raises(KdstError, match=r"cannot read .*calls\.jsonl, which the report needs"):
        content(result, tmp_path)


def test_the_reasons_of_all_rounds_are_counted_with_the_most_frequent_first(tmp_path):
    found = content(a_run(tmp_path), tmp_path)
    (table,) = (
        b for b in found.blocks if isinstance(b, Table) and b.title == "Why calls were not kept"
    )
    assert table.rows == [["gain below 1", "3"], ["division <by> zero", "1"]]
