"""Inversion of blocks: what is asked, kept, stopped and yielded."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor

from kdst_authors.testing import make_run
from kdst_core.contracts import Inversion, InvertRequest
from kdst_core.errors import KdstError
from kdst_vec2text import Vec2TextOptions, inversion
from kdst_vec2text.api import invert_embeddings, invert_strings
from kdst_vec2text.inversion import FOUND, InversionSettings, invert_block
from kdst_vec2text.method import invert_request
from kdst_vec2text.pair import Vec2Text, load_corrector
from kdst_vec2text.search import beam_search

Steps = list[Inversion]


@pytest.fixture
def held_out(tools: Any) -> list[str]:
    """Sentences to recover, two of them the same."""
    texts = tools.sentences(14, seed=5)
    return [*texts, texts[0]]


def run(inverter: Vec2Text, toy: Any, e: Tensor, **how: Any) -> Steps:
    """All steps of one block, with the embedder's questions counted from 0."""
    toy.asked.clear()
    return list(invert_block(inverter, toy, e, InversionSettings(**how)))


def test_corrections_find_more_than_hypotheses(
    inverter: Vec2Text, toy: Any, held_out: list[str]
) -> None:
    steps = run(inverter, toy, toy(held_out), beam=4)
    exact = [sum(a == b for a, b in zip(s.texts, held_out, strict=True)) for s in steps]
    assert exact[0] < exact[-1]
    shuffled = sum(a == b for a, b in zip(steps[-1].texts, held_out[1:], strict=False))
    assert shuffled < exact[-1] / 2


def test_cosine_never_falls_and_is_that_of_the_text(
    inverter: Vec2Text, toy: Any, held_out: list[str]
) -> None:
    e = toy(held_out)
    steps = run(inverter, toy, e, beam=3, patience=0, steps=6)
    for before, after in itertools.pairwise(steps):
        assert bool((after.cosine >= before.cosine).all())
    again = torch.cosine_similarity(toy(list(steps[-1].texts)), e, dim=-1)
    assert torch.allclose(again, steps[-1].cosine, atol=1e-6)


def test_no_text_is_embedded_twice_and_calls_are_counted(
    inverter: Vec2Text, toy: Any, held_out: list[str]
) -> None:
    e = toy(held_out)
    steps = run(inverter, toy, e, beam=4, patience=0)
    assert len(toy.asked) == len(set(toy.asked)) == steps[-1].embedder_calls
    calls = [s.embedder_calls for s in steps]
    assert calls == sorted(calls)


def test_no_step_gives_the_hypotheses_alone(
    inverter: Vec2Text, toy: Any, held_out: list[str]
) -> None:
    e = toy(held_out)
    (only,) = run(inverter, toy, e, steps=0, beam=3)
    assert only.step == 0
    assert only.last
    assert only.texts == run(inverter, toy, e, steps=4, beam=3)[0].texts


def test_a_missing_corrector_is_said_and_the_hypothesiser_works_alone(
    inverter: Vec2Text, toy: Any, tools: Any, tmp_path: Path
) -> None:
    inverter.save(tmp_path / "model")
    e = toy(tools.sentences(3))
    options = Vec2TextOptions(model=str(tmp_path / "model"), corrector="none")
    request = InvertRequest(e, toy, torch.Generator())
    (only,) = invert_request(request, options, make_run(tmp_path / "run"))
    assert only.last
    assert "no corrector" in only.notes[0]


def test_hypotheses_are_compared_as_the_store_was_made(
    inverter: Vec2Text, toy: Any, held_out: list[str]
) -> None:
    def half(e: Tensor) -> Tensor:
        return torch.nn.functional.pad(e[:, : e.shape[1] // 2], (0, e.shape[1] - e.shape[1] // 2))

    e = half(toy(held_out))
    seen = list(invert_block(inverter, toy, e, InversionSettings(beam=4), view=half))[-1]
    plain = list(invert_block(inverter, toy, e, InversionSettings(beam=4)))[-1]
    again = torch.cosine_similarity(half(toy(list(seen.texts))), e, dim=-1)
    assert torch.allclose(again, seen.cosine, atol=1e-6)
    assert float(seen.cosine.max()) > float(plain.cosine.max())


def test_no_budget_asks_nobody_and_gives_the_likeliest_text(
    inverter: Vec2Text, toy: Any, held_out: list[str]
) -> None:
    e = toy(held_out)
    wide = run(inverter, toy, e, beam=4, budget=0)
    assert not toy.asked
    assert [s.last for s in wide] == [True]
    assert bool(wide[0].cosine.isnan().all())
    narrow = run(inverter, toy, e, beam=1, budget=0)
    assert narrow[0].texts == run(inverter, toy, e, beam=1, steps=0)[0].texts


@pytest.mark.parametrize("budget", [1, 3, 7])
def test_the_budget_of_each_text_is_kept(
    inverter: Vec2Text, toy: Any, held_out: list[str], budget: int
) -> None:
    steps = run(inverter, toy, toy(held_out), beam=4, budget=budget, patience=0)
    assert len(toy.asked) <= budget * len(held_out)
    assert all(steps[-1].texts)


def test_rows_that_are_found_or_do_not_improve_stop(
    inverter: Vec2Text, toy: Any, held_out: list[str]
) -> None:
    e = toy(held_out)
    steps = run(inverter, toy, e, beam=4, steps=30, patience=2)
    for before, after in itertools.pairwise(steps):
        assert after.active is not None
        found = before.cosine >= FOUND
        assert not bool((after.active & found).any())
        assert bool((after.cosine == before.cosine)[~after.active].all())
    assert len(steps) < 31
    assert [s.last for s in steps] == [False] * (len(steps) - 1) + [True]
    patient = run(inverter, toy, e, beam=4, steps=30, patience=31)
    assert bool((patient[-1].cosine >= steps[-1].cosine - 1e-6).all())


@pytest.mark.parametrize(
    ("patience", "beam", "wanted"),
    [
        (4, 8, [(2, 16), (1, 64), (1, 64), (1, 64)]),
        (4, 3, [(1, 6), (1, 9), (1, 9), (1, 9)]),
        (4, 1, [(1, 1), (1, 1), (1, 1), (1, 1)]),
        (0, 4, [(4, 4), (4, 4), (4, 4), (4, 4)]),
    ],
)
def test_where_rows_may_stop_fewer_hypotheses_are_corrected_with_a_wider_beam(
    inverter: Vec2Text,
    toy: Any,
    monkeypatch: pytest.MonkeyPatch,
    patience: int,
    beam: int,
    wanted: list[tuple[int, int]],
) -> None:
    decoded: list[tuple[int, int]] = []

    def search(network: Any, decoder: Any, inputs: Any, beams: int, longest: int) -> Any:
        decoded.append((len(inputs[0]), beams))
        return beam_search(network, decoder, inputs, beams, longest)

    monkeypatch.setattr(inversion, "beam_search", search)
    block = inversion.Block(inverter, toy, InversionSettings(3, beam, patience=patience))
    row = inversion.Row(toy(["max took iron"])[0])
    block.vectors = {text: toy([text])[0] for text in ("a", "b", "c", "d", "e")}
    for since, shape in enumerate(wanted):
        row.tried = dict(zip(block.vectors, (0.5, 0.4, 0.3, 0.2, 0.1), strict=True))
        row.since, row.corrected = since, {}
        work = block._to_correct(row)
        assert [text for _, text, _ in work] == list(block.vectors)[: shape[0]]
        found = block._corrections(work)
        assert decoded[-1] == shape
        assert len(found) == shape[0]


def test_a_wider_beam_may_correct_a_hypothesis_again() -> None:
    row = inversion.Row(torch.ones(3), {"a": 0.9, "b": 0.8, "c": 0.7}, {"a": 4, "b": 4})
    assert row.frontier(2, 4) == ["c"]
    assert row.frontier(2, 8) == ["a", "b"]


def test_blocks_are_independent_and_taken_as_they_come(
    inverter: Vec2Text, toy: Any, held_out: list[str], tmp_path: Path
) -> None:
    inverter.save(tmp_path / "model")
    e = toy(held_out)
    before = e.clone()
    taken = []

    def blocks(*ranges: range) -> Any:
        for rows in ranges:
            taken.append(rows)
            yield rows

    options = Vec2TextOptions(model=str(tmp_path / "model"), beam=2, batch=4)

    def inverted(*ranges: range) -> dict[int, tuple[str, float]]:
        request = InvertRequest(e, toy, torch.Generator(), blocks(*ranges))
        found = {}
        for step in invert_request(request, options, make_run(tmp_path / "run")):
            assert step.rows == taken[-1], "a block was taken before it was its turn"
            if step.last:
                pairs = zip(step.texts, step.cosine.tolist(), strict=True)
                found.update(zip(step.rows, pairs, strict=True))
        return found

    together = inverted(range(0, 5), range(5, 10), range(10, 15))
    parts = inverted(range(10, 15), range(0, 5)) | inverted(range(5, 10))
    assert together == dict(sorted(parts.items()))
    assert torch.equal(e, before)


def test_vectors_and_embedders_that_do_not_fit_are_refused(
    inverter: Vec2Text, toy: Any, tools: Any, tmp_path: Path
) -> None:
    inverter.save(tmp_path / "model")
    model = load_corrector(str(tmp_path / "model"))
    with pytest.raises(KdstError, match=r"shape \(2, 23\).*\(N, 24\)"):
        model.check_vectors(torch.ones(2, 23))
    for value, words in ((0.0, "row 8 .* is all zero"), (torch.nan, "row 8 .* is not finite")):
        e = toy(["max took iron", "anna has iron"])
        e[1] = value
        with pytest.raises(KdstError, match=words):
            model.check_vectors(e, 7)
    other = tools.toy(1)
    other.name = "another"
    with pytest.raises(KdstError, match="another does not belong to this inverter"):
        model.check_embedder(other)
    other.dimension = 25
    with pytest.raises(KdstError, match="vectors of 25 numbers, the inverter reads 24"):
        model.check_embedder(other)
    model.check_embedder(toy)
    options = Vec2TextOptions(model=str(tmp_path / "model"))
    request = InvertRequest(2 * toy(["anna has iron"]), toy, torch.Generator())
    with pytest.raises(KdstError, match="vectors of length 1, these have 2 to 2"):
        list(invert_request(request, options, make_run(tmp_path / "run")))


def test_python_functions_return_texts_with_scores(
    inverter: Vec2Text, toy: Any, held_out: list[str], tmp_path: Path
) -> None:
    found = invert_strings(held_out, inverter, toy, num_steps=5, jsonl=tmp_path / "steps.jsonl")
    e = toy(held_out)
    assert found == invert_embeddings(e, inverter, toy, num_steps=5)
    assert all(f.texts[f.step] == f.text for f in found)
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines if line["step"] == 0] == list(range(len(held_out)))
    last = {line["row"]: line["text"] for line in lines}
    assert [last[row] for row in range(len(held_out))] == [f.text for f in found]
    plain = invert_strings(held_out[:3], inverter, toy.__call__, num_steps=5)
    assert [f.text for f in plain] == [f.text for f in found[:3]]


def test_bfloat16_finds_texts_too(inverter: Vec2Text, toy: Any, held_out: list[str]) -> None:
    import copy

    e = toy(held_out)
    half = evolve(
        inverter,
        hypothesiser=copy.deepcopy(inverter.hypothesiser),
        corrector=copy.deepcopy(inverter.corrector),
    ).to("cpu", torch.bfloat16)
    found = run(half, toy, e, beam=4)[-1]
    reference = run(inverter, toy, e, beam=4)[-1]
    assert float((found.cosine - reference.cosine).abs().mean()) < 0.05
