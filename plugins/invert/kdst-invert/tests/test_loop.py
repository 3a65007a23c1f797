"""Inversions on disk: streamed, resumed without loss or doubling, scored by step."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kdst_authors.testing import make_run
from kdst_core.errors import KdstError
from kdst_core.runs.codecs import JsonCodec
from kdst_invert.lines import read_lines
from kdst_invert.loop import Attacker
from kdst_invert.measures.scores import final_texts, score_file
from kdst_invert.texts import Originals

TEXTS = [f"note {i} says {'much ' * (i % 3)}of person {i}" for i in range(10)]


def attacker(directory: Path, method: Any) -> Attacker:
    """An attacker that a stand-in for a method serves, with blocks of three rows."""
    call = SimpleNamespace(
        call=lambda request, options, run: method.invert(request),
        plugin=SimpleNamespace(qualified="kdst-test/oracle"),
        working=nullcontext,
    )
    run = make_run(directory, codec=JsonCodec())
    return Attacker(call, SimpleNamespace(), run, 3)  # type: ignore[arg-type]


def test_a_stopped_attack_goes_on_with_nothing_lost_or_doubled(tmp_path: Path, oracle: Any) -> None:
    vectors = torch.randn(10, 4)
    whole = attacker(tmp_path / "a", oracle(TEXTS)).invert("x", vectors, None, "x")
    with pytest.raises(KeyboardInterrupt):
        attacker(tmp_path / "b", oracle(TEXTS, fail_at=6)).invert("x", vectors, None, "x")
    half = tmp_path / "b" / "artifacts" / "x.jsonl"
    assert {line["row"] for line in read_lines(half)} >= set(range(6))
    again = attacker(tmp_path / "b", oracle(TEXTS)).invert("x", vectors, None, "x")
    assert again.file.read_bytes() == whole.file.read_bytes()
    assert again.state.calls == whole.state.calls
    keys = [(line["row"], line["step"]) for line in read_lines(again.file)]
    assert len(keys) == len(set(keys))


def test_a_finished_attack_is_not_carried_out_again(tmp_path: Path, oracle: Any) -> None:
    vectors = torch.randn(10, 4)
    attacker(tmp_path, oracle(TEXTS)).invert("x", vectors, None, "x")
    again = attacker(tmp_path, oracle(TEXTS, fail_at=0)).invert("x", vectors, None, "x")
    assert final_texts(again.file, 10) == TEXTS


def test_lines_are_there_before_the_block_ends(tmp_path: Path, oracle: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        attacker(tmp_path, oracle(TEXTS, fail_at=3)).invert("x", torch.randn(10, 4), None, "x")
    rows = [
        line["row"] for line in read_lines(tmp_path / "artifacts" / "x.jsonl") if line["step"] == 0
    ]
    assert rows == [0, 1, 2, 3, 4, 5]


def test_scores_carry_stopped_rows_forward(tmp_path: Path, oracle: Any) -> None:
    short = ["one two three", "one two three four five six"]
    found = attacker(tmp_path, oracle(short)).invert("x", torch.randn(2, 4), None, "x")
    scores = score_file(found.file, 2, found.state.steps, Originals(short))
    assert scores.steps == 2
    assert scores.values["exact"][:, 0].tolist() == [0, 0]
    assert scores.values["exact"][1].tolist() == [0, 0, 1]
    metrics = scores.metrics()
    assert metrics["cosine.step0"] == 0.5
    assert metrics["exact.final"] == metrics["exact.step2"]


def test_a_wrong_number_of_texts_is_one_line(tmp_path: Path) -> None:
    from kdst_core.contracts import Inversion

    class Wrong:
        def invert(self, request: Any) -> Any:
            yield Inversion(0, ["a"], torch.zeros(1), 1, range(2), None, True)

    with pytest.raises(KdstError, match="returned 1 texts for a block of 2"):
        attacker(tmp_path, Wrong()).invert("x", torch.randn(2, 4), None, "x")


def test_the_file_holds_row_step_text_cosine(tmp_path: Path, oracle: Any) -> None:
    found = attacker(tmp_path, oracle(TEXTS)).invert("x", torch.randn(10, 4), None, "x")
    first = json.loads(found.file.read_text().splitlines()[0])
    assert first == {"row": 0, "step": 0, "text": "note", "cosine": 0.5}


def test_slow_steps_without_a_finished_row_show_no_division_by_zero(
    tmp_path: Path, oracle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdst_core.progress.PLAIN_INTERVAL", 0.0)
    slow = attacker(tmp_path, oracle(TEXTS))
    slow.run.show = "plain"
    assert slow.invert("x", torch.randn(10, 4), None, "x").state.complete
