"""The studies and the run, with a stand-in for the method: every figure and report is made."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from attrs import evolve, frozen

from kdst_authors.testing import make_run
from kdst_core.bench.contract import Job
from kdst_core.errors import KdstError
from kdst_core.reports.blocks import Marked
from kdst_core.runs.codecs import JsonCodec
from kdst_invert import load as source
from kdst_invert.attackers import baselines as controls
from kdst_invert.attackers import slots
from kdst_invert.defences.lossy import Dropping
from kdst_invert.defences.rotation import Rotation
from kdst_invert.inputs import InvertInputs
from kdst_invert.report.page import content
from kdst_invert.run import PreparedInvert
from kdst_invert.studies import adaptive, curve, defence, grammar, length, rewritten
from kdst_invert.studies.adaptive import Known as KnownPairs
from kdst_invert.studies.sentences import find, on_noise, protects


@frozen
class Options:
    """Options of the stand-in."""

    model: str = "m"
    base: str = "small"
    beam: int = 4
    steps: int = 20
    epochs: int = 1
    max_seq_length: int = 32
    budget: int | None = None


class Known:
    """Reveals the held-out notes word by word, whatever the vectors say; notes what it was asked."""

    def __init__(self, oracle: Any, texts: list[str]) -> None:
        self.oracle, self.texts = oracle, texts
        self.asked: list[tuple[Any, Any]] = []
        self.plugin = SimpleNamespace(qualified="kdst-test/known")
        self.working = nullcontext

    def call(self, request: Any, options: Any, run: Any) -> Any:
        self.asked.append((request, options))
        texts = [*self.texts, *[f"text {i}" for i in range(len(request.embeddings))]]
        return self.oracle(texts).invert(request)


@pytest.fixture
def prepared(oracle: Any, hash_embedder: Any) -> Any:
    """Makes a prepared run of few notes."""

    def make(**inputs: Any) -> PreparedInvert:
        given = InvertInputs(**inputs)
        found = source.load(given, hash_embedder, 0)
        texts = list(found.originals.texts) if found.originals else []
        job = Job(Known(oracle, texts), Options(), given, 0, "cpu")  # type: ignore[arg-type]
        return PreparedInvert(job, "cpu", hash_embedder, found)

    return make


def carried_out(made: PreparedInvert, directory: Path) -> tuple[Any, Any]:
    """The outcome of a run and its report."""
    run = make_run(directory, codec=JsonCodec())
    outcome = made.execute(run)
    from kdst_core.options import plain

    result = {
        "input": {**plain(made.inputs), **outcome.input},
        "metrics": dict(outcome.metrics),
        "artifacts": dict(outcome.artifacts),
    }
    return outcome, content(result, directory)


def test_a_run_measures_every_step_and_its_controls(
    prepared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdst_invert.default import training

    monkeypatch.setattr(training, "BASE", 40)
    monkeypatch.setattr(controls, "LEARNED_FROM", 50)
    monkeypatch.setattr(controls, "SEARCHED", 2)
    outcome, report = carried_out(prepared(count=12, block=5), tmp_path)
    metrics = outcome.metrics
    assert metrics["texts"] == 12
    assert metrics["exact.final"] == metrics["names.final"] == metrics["greedy.exact"] == 1
    assert metrics["exact.step0"] == 0
    assert metrics["nearest.exact"] == 0 == metrics["shuffled.exact"]
    assert metrics["embedder_calls_per_text"] == 9 / 12
    assert metrics["slots.texts"] == 2
    assert 0 < metrics["ridge.token_f1"] < 1
    assert {"exact.final.low", "field.condition.final", "texts_per_second"} <= set(metrics)
    shown = next(b for b in report.blocks if isinstance(b, Marked) and b.key)
    assert shown.paragraphs[1][1].series is not None


def test_texts_alone_give_no_baseline_of_training(prepared: Any, tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_text("\n".join(f"line {i} of some text" for i in range(6)))
    outcome, _ = carried_out(prepared(texts=file), tmp_path / "run")
    assert "nearest.exact" not in outcome.metrics
    assert "names.final" not in outcome.metrics


def test_vectors_without_texts_are_judged_by_cosine_alone(
    prepared: Any, tmp_path: Path, hash_embedder: Any
) -> None:
    import numpy as np

    np.save(tmp_path / "v.npy", 2 * hash_embedder(["a b", "c d"]).numpy())
    outcome, report = carried_out(prepared(embeddings=tmp_path / "v.npy"), tmp_path / "run")
    assert "exact.final" not in outcome.metrics
    assert 0.5 <= outcome.metrics["cosine.final"] <= 1
    text = "".join(span.text for span in report.blocks[0].paragraphs[0])
    assert "were not given" in text


def test_the_defence_study_has_both_attackers_over_all_strengths(
    prepared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defence, "TRAINED_ON", 210)
    monkeypatch.setattr(adaptive, "OWN", 100)
    monkeypatch.setattr(grammar, "SEARCHED", 1)
    monkeypatch.setattr(slots, "ROUNDS", 1)
    monkeypatch.setattr(rewritten, "SEARCHED", 3)
    monkeypatch.setattr(rewritten, "BLOCK", 2)
    monkeypatch.setattr(rewritten, "BLURRED", 0.0)
    monkeypatch.setattr(rewritten, "PAIRS", 60)
    made = prepared(study="defence", count=8)
    outcome, report = carried_out(made, tmp_path)
    rows = json.loads((tmp_path / "artifacts" / "study.json").read_text())["rows"]
    for attacker in ("clean", "adaptive", "grammar"):
        noise = [r for r in rows if r["defence"] == "gaussian" and r["attacker"] == attacker]
        assert [r["scale"] for r in noise] == list(defence.LAMBDAS)
        assert len(noise) >= 6
        kinds = {r["defence"] for r in rows if r["attacker"] == attacker}
        assert kinds >= {"laplace", "private", "rounding", "dropping", "rotation"}
    without = find(rows, 0.0, "clean")
    assert without is not None
    assert without["retrieval"]["overlap@10"][0] == 1
    assert outcome.metrics["gaussian.0.01.clean.names"] == 1
    assert any("λ = .01" in line for line in outcome.summary)
    training = [r.training for r, _ in made.job.method.asked if r.training is not None]
    assert len(training) == 1
    assert training[0].noise == max(defence.LAMBDAS)
    options = [o for r, o in made.job.method.asked if r.training is not None]
    assert options[0].base == "m"
    assert len(report.blocks) == 7
    pairs = json.loads((tmp_path / "artifacts" / "study.json").read_text())["pairs"]
    alone = [p for p in pairs if not p["own"]]
    assert {p["pairs"] for p in alone if p["defence"] == "rotation"} == {0, 10, 100}
    helped = {p["defence"]: p["pairs"] for p in pairs if p["own"] == 100}
    assert helped["rotation"] == 60
    assert helped["rounding"] == helped["dropping"] == 190
    assert "rounding.int2.pairs190.own100.token_f1" in outcome.metrics
    assert "private.100.clean.recall@10" not in outcome.metrics
    assert 0 <= outcome.metrics["private.100.recall@10"] <= 1
    assert "gaussian.0.03.pairs100.token_f1" in outcome.metrics
    said = " ".join(outcome.summary)
    assert "By chance" in said
    assert "1,000 pairs were not tried" in said
    assert "other texts of the kind" in said
    assert "λ = 0.01: ε = " in said
    assert "One who knows the sentences that the notes are made of" in said
    mine = [r for r in rows if r["attacker"] == "rewriting"]
    assert {r["strength"] for r in mine} == {"int8", "int4", "int2"}
    assert all((r["pairs"], r["attacked"]) == (60, 3) for r in mine)
    assert "rounding.int2.rewriting.token_f1" in outcome.metrics
    assert "One who knows 60 pairs alone, and rewrites what he reads" in said
    views = {bool(r.view) for r, _ in made.job.method.asked}
    assert views == {True, False}


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ([0.0, 0.0, 0.04], "The smallest λ tried that holds both attackers to 5% or less"),
        (
            [0.02, 0.0, 0.09],
            "λ = 0.1 may hold both attackers to 5% or less, but these texts are too few",
        ),
        ([0.3, 0.2, 0.4], "No λ tried, up to 0.1, holds the attackers to 5% or less"),
    ],
)
def test_the_sentence_on_protection_follows_the_intervals(names: list[float], wanted: str) -> None:
    rows = [
        {
            "defence": "gaussian", "scale": scale, "attacker": attacker,
            "leakage": {"names": found},
            "retrieval": {"recall@1": [0.6, 0.5, 0.7], "overlap@10": [0.5, 0.4, 0.6]},
        }
        for scale, found in ((0.0, [0.9, 0.8, 1.0]), (0.1, names))
        for attacker in ("clean", "adaptive")
    ]  # fmt: skip
    (sentence,) = protects(rows)
    assert sentence.startswith(wanted)
    assert ("60.0% (50.0% to 70.0%)" in sentence) == (names[0] <= 0.05)


@frozen
class Fitted:
    """Options of a method that is fitted at once and goes on from no weights."""

    model: str = "m"
    steps: int = 20
    budget: int | None = None


def test_a_method_that_goes_on_from_no_weights_is_not_trained_with_noise(
    prepared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defence, "LAMBDAS", (0.0, 0.01))
    monkeypatch.setattr(defence, "OTHERS", ())
    monkeypatch.setattr(adaptive, "OWN", 220)
    monkeypatch.setattr(grammar, "SEARCHED", 1)
    monkeypatch.setattr(slots, "ROUNDS", 1)
    made = prepared(study="defence", count=4)
    made = evolve(made, job=evolve(made.job, options=Fitted()))
    outcome, _ = carried_out(made, tmp_path)
    assert all(r.training is None for r, _ in made.job.method.asked)
    assert "gaussian.0.01.adaptive.token_f1" in outcome.metrics
    assert "trained with noise" not in " ".join(outcome.summary)


@pytest.mark.parametrize(
    ("names", "words", "blind"),
    [
        ([0.0, 0.0, 0.3], [0.02, -0.01, 0.05], True),
        ([0.0, 0.0, 0.3], [0.2, 0.1, 0.3], False),
        ([0.5, 0.2, 0.8], [0.02, -0.01, 0.05], False),
    ],
)
def test_attackers_who_read_nothing_earn_no_verdict_on_defences(
    names: list[float], words: list[float], blind: bool
) -> None:
    row = {
        "defence": "gaussian", "scale": 0.0, "attacker": "clean",
        "leakage": {"names": names, "token_f1": words},
        "above": {"names": names, "token_f1": words},
        "retrieval": {"recall@1": [0.6, 0.5, 0.7], "overlap@10": [0.5, 0.4, 0.6]},
    }  # fmt: skip
    said = " ".join(on_noise([row, {**row, "scale": 0.01}]))
    assert ("do not take any row for safe" in said) is blind
    assert ("holds both attackers" in said or "No λ" in said or "may hold" in said) is not blind


def test_the_search_study_reads_every_beam_and_step(prepared: Any, tmp_path: Path) -> None:
    outcome, report = carried_out(prepared(study="search", count=6), tmp_path)
    assert {f"beam{b}.exact.step{s}" for b in (1, 8) for s in (0, 6)} <= set(outcome.metrics)
    assert len(report.blocks) == 3


def test_the_length_study_trains_once_and_reaches_128_tokens(
    prepared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(length, "TRAINED_ON", 5)
    made = prepared(study="length", count=4)
    outcome, _ = carried_out(made, tmp_path)
    assert {f"length{n}.token_f1" for n in (16, 32, 64, 128)} <= set(outcome.metrics)
    asked = [(r.training, o) for r, o in made.job.method.asked if r.training is not None]
    assert len(asked) == 1
    assert len(asked[0][0].texts) == 20
    assert asked[0][1].max_seq_length == 128


def test_passages_have_the_lengths_asked_for() -> None:
    for tokens in (16, 128):
        found = length.passages("held-out", 5, tokens, 0)
        assert {len(text.split()) for text in found} == {round(tokens / length.TOKENS_A_WORD)}


def test_the_study_of_noise_has_the_figures_of_the_study_of_defences(
    prepared: Any, tmp_path: Path
) -> None:
    made = prepared(study="noise", count=6)
    outcome, _ = carried_out(made, tmp_path)
    rows = json.loads((tmp_path / "artifacts/study.json").read_text())["rows"]
    assert [row["scale"] for row in rows] == [0.0, 0.01, 0.03, 0.1]
    kept = [outcome.metrics[f"gaussian.{scale}.overlap@10"] for scale in ("0", "0.01", "0.1")]
    assert kept[0] == 1 > kept[1] > kept[2]
    for name in ("gaussian.0.03.clean.exact", "gaussian.0.03.ndcg@10"):
        assert name in outcome.metrics
    assert "λ = .01" in outcome.summary[0]
    noised = [request.embeddings for request, _ in made.job.method.asked]
    assert not torch.equal(noised[0], noised[1])


def test_the_access_study_compares_none_and_right(prepared: Any, tmp_path: Path) -> None:
    made = prepared(study="access", count=6)
    outcome, _ = carried_out(made, tmp_path)
    assert {"none.exact", "right.exact"} <= set(outcome.metrics)
    alone, options = made.job.method.asked[1]
    assert (options.beam, options.steps, options.budget) == (1, 0, 0)
    with pytest.raises(KdstError, match="without access"):
        alone.embed(["a"])


def test_a_fit_holds_out_texts_that_it_does_not_train_on(
    prepared: Any, tmp_path: Path, hash_embedder: Any
) -> None:
    file = tmp_path / "t.txt"
    file.write_text("\n".join([f"line {i} of text" for i in range(20)] + ["line 3 of text"]))
    made = prepared(stage="fit", texts=file, holdout=0.2)
    kept = set(made.target.originals.texts)
    assert len(made.target.originals.texts) == 4
    assert not kept & set(made.target.training)
    with pytest.raises(KdstError, match="holds out 0 of 21"):
        prepared(stage="fit", texts=file, holdout=0.01)


def test_a_study_without_texts_is_one_line(
    prepared: Any, tmp_path: Path, hash_embedder: Any
) -> None:
    import numpy as np

    np.save(tmp_path / "v.npy", hash_embedder(["a b", "c d"]).numpy())
    with pytest.raises(KdstError, match="--study search needs the texts"):
        carried_out(prepared(embeddings=tmp_path / "v.npy", study="search"), tmp_path / "run")


def test_the_curve_has_the_numbers_of_pairs_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def point(stage: Any, defence: Any, count: int, undoing: Any, own: int = 0) -> Any:
        leakage = {"token_f1": [0.1 * count, 0.0, 1.0]}
        kind = {"defence": defence.name, "strength": defence.strength}
        return {**kind, "pairs": count, "own": own, "attacked": 2, "leakage": leakage}

    monkeypatch.setattr(curve, "_point", point)
    subject = SimpleNamespace(pairs=[5, 0, 5, 9])
    stage: Any = SimpleNamespace(
        subject=subject, run=make_run(tmp_path), undo=lambda defence, few: "a map"
    )
    known = KnownPairs(torch.randn(6, 4), torch.empty(0, 4))
    points = curve.curve(stage, [Dropping(0.5), Rotation()], known)
    assert [(p["defence"], p["pairs"]) for p in points] == [
        *(("dropping", n) for n in (0, 5)),
        *(("rotation", n) for n in (0, 5)),
    ]
    said = " ".join(curve.sentences(points, subject.pairs))
    assert "From 0 to 5 known pairs token F1 rises most for" in said
    assert "Attackers who know 9 pairs were not tried" in said
