"""Verdicts follow from the figures: what was known, what is chance, what could not have been seen."""

import numpy as np
import pytest

from kdst_batch.statistics import wilson
from kdst_invert.measures.chance import above, by_chance, smallest_share
from kdst_invert.measures.confidence import FINDING, is_guess
from kdst_invert.report.verdict import knew, sentences
from kdst_invert.texts import Originals

TEXTS = [f"Patient {name}, seen for asthma." for name in ("Ann Lee", "Bo Ray", "Cy Fox")]
ORIGINALS = Originals(TEXTS, [{"name": t[8:].split(",")[0]} for t in TEXTS])


def figures(exact: float, f1: float, chance: float, reach: float = 0.02) -> dict[str, float]:
    """Metrics of a run on 100 texts."""
    found = {"texts": 100.0, "embedder_calls_per_text": 3.0, "guesses": 0.0}
    found |= {"exact.final": exact, "chance.token_f1": chance, "above_chance.token_f1": f1 - chance}
    for name, value in (("exact.final", exact), ("above_chance.token_f1", f1 - chance)):
        found |= {f"{name}.low": value - reach, f"{name}.high": value + reach}
    return found


def test_chance_is_what_texts_share_with_other_originals() -> None:
    shared = by_chance(TEXTS, ORIGINALS)
    assert shared["token_f1"].tolist() == pytest.approx([4 / 6] * 3)
    assert shared["names"].tolist() == [0, 0, 0]
    own = {"token_f1": np.ones(3), "exact": np.ones(3)}
    assert above(own, shared)["token_f1"].value == pytest.approx(2 / 6)
    assert np.isnan(by_chance(TEXTS[:1], ORIGINALS.cut(range(1)))["token_f1"]).all()
    same = Originals([TEXTS[0]] * 3)
    assert np.isnan(by_chance(TEXTS, same)["token_f1"]).all()


def test_the_smallest_leak_is_wilsons_end() -> None:
    assert smallest_share(12) == pytest.approx(wilson(0, 12)[1])
    assert smallest_share(0) == 1
    assert smallest_share(1000) < smallest_share(10) < 0.3


def test_a_verdict_states_knowledge_chance_and_power() -> None:
    said = " ".join(sentences(figures(0.0, 0.11, 0.10), "He held the vectors"))
    assert "He held the vectors." in said
    assert "share token F1 0.10 with an original" in said
    assert "not told from chance" in said
    assert "leak below 3.7%" in said
    assert "says nothing of others" in said
    assert "read little" not in said


def test_words_above_chance_are_a_leak_though_no_text_was_read_whole() -> None:
    said = " ".join(sentences(figures(0.0, 0.5, 0.1)))
    assert "0.40 above that (0.38 to 0.42)" in said
    assert "Treat the vectors like the texts" in said


def test_memory_is_ruled_out_only_where_it_was_tested_and_gives_less() -> None:
    metrics = figures(0.9, 0.95, 0.1)
    assert "memory" not in " ".join(sentences(metrics)).lower()
    near = {"nearest.exact": 0.0, "nearest.exact.high": 0.01}
    assert "It is no memory" in " ".join(sentences(metrics | near))
    near = {"nearest.exact": 0.88, "nearest.exact.high": 0.95}
    assert "Memory is not ruled out" in " ".join(sentences(metrics | near))


def test_low_cosines_are_guesses() -> None:
    assert is_guess(None)
    assert is_guess(float("nan"))
    assert is_guess(FINDING - 0.01)
    assert not is_guess(FINDING)
    metrics = {"texts": 4.0, "cosine.final": 0.2, "guesses": 1.0}
    assert "All texts are guesses, not findings" in " ".join(sentences(metrics))


def test_what_the_attacker_had_is_said() -> None:
    given = {"embedder_name": "minilm", "stage": "invert"}
    assert "might ask the embedder minilm" in knew({"input": given, "options": {"model": "tiny"}})
    assert "never asked" in knew({"input": given, "options": {"budget": 0}})
    fitted = {"stage": "fit", "training_texts": 90}
    assert "trained on 90 other texts" in knew({"input": fitted, "options": {}})
