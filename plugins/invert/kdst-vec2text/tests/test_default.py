"""The embedded inverter: its files, and its recorded scores."""

import json

import pytest

from kdst_invert.default.notes import notes
from kdst_vec2text.pair import EMBEDDED, load_corrector

MOST_BYTES = 15_000_000


def test_the_shipped_weights_are_small_half_precision_and_belong_together() -> None:
    files = [f for f in EMBEDDED.rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) <= MOST_BYTES
    found = load_corrector("tiny")
    assert found.corrector is not None
    assert found.config.embedder_model_name == "minilm"
    assert found.examples is not None
    assert len(found.examples.texts) == 16


def test_the_recorded_scores_rise_and_beat_memory() -> None:
    kept = json.loads((EMBEDDED / "scores.json").read_text())
    scores = kept["metrics"]
    assert scores["texts"] >= 500
    assert scores["exact.step0"] < scores["exact.step1"] < scores["exact.step2"]
    assert scores["exact.final"] >= 0.9
    assert scores["names.final"] >= 0.98
    assert scores["exact.final"] > scores["greedy.exact"]
    assert scores["nearest.exact"] == scores["shuffled.exact"] == 0


@pytest.mark.slow
def test_the_shipped_weights_invert_held_out_notes() -> None:
    from kdst_invert.embedders.minilm import minilm
    from kdst_vec2text.api import invert_embeddings

    texts = [n.text for n in notes("held-out", 24, seed=5)]
    embed = minilm()
    found = invert_embeddings(embed(texts), load_corrector("tiny"), embed, 3, 4)
    right = sum(f.text == text for f, text in zip(found, texts, strict=True))
    assert right >= 16
