"""Attackers without a network: words by ridge regression, and the slots of known sentences."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from kdst_authors.testing import make_run
from kdst_invert.attackers import baselines as controls
from kdst_invert.attackers.bag import learn_bag
from kdst_invert.attackers.slots import FOUND, search_slots
from kdst_invert.default.notes import notes
from kdst_invert.load import Target
from kdst_invert.measures.recovery import token_f1
from kdst_invert.measures.units import units
from kdst_invert.texts import Originals

TRAINING = [n.text for n in notes("train", 800)]
HELD = notes("held-out", 3)


class WordEmbedder:
    """Texts to the sum of their words' random vectors, each weighted a little by its place."""

    name, dimension, normalised = "words", 256, True

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.words: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        rows = [sum(map(self._word, enumerate(units(t))), torch.zeros(256)) for t in texts]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1)

    def _word(self, placed: tuple[int, str]) -> Tensor:
        place, word = placed
        generator = torch.Generator().manual_seed(len(self.words))
        drawn = self.words.setdefault(word, torch.randn(256, generator=generator))
        return drawn * (1 + 0.02 * place)


@pytest.fixture
def embed() -> WordEmbedder:
    return WordEmbedder()


def test_ridge_regression_reads_words_in_their_usual_order(embed: WordEmbedder) -> None:
    bag = learn_bag(TRAINING, embed(TRAINING))
    found = [" ".join(words) for words in bag.read(embed([n.text for n in HELD]))]
    assert min(token_f1(a, n.text) for a, n in zip(found, HELD, strict=True)) > 0.7
    shuffled = [token_f1(a, n.text) for a, n in zip(found, HELD[1:], strict=False)]
    assert max(shuffled) < 0.6


def test_slots_are_searched_side_by_side_until_the_note_is_read(embed: WordEmbedder) -> None:
    vectors = embed([n.text for n in HELD])
    bag = learn_bag(TRAINING, embed(TRAINING))
    embed.asked.clear()
    found = search_slots(vectors, bag, embed)
    assert [read.text for read in found] == [n.text for n in HELD]
    assert min(read.cosine for read in found) >= FOUND
    assert sum(read.calls for read in found) == len(embed.asked) < 3 * 600
    alone = search_slots(vectors[1:2], bag, embed)[0]
    assert alone.text == found[1].text
    assert alone.calls == found[1].calls


def test_both_are_measured_and_kept(
    embed: WordEmbedder, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controls, "LEARNED_FROM", 800)
    monkeypatch.setattr(controls, "SEARCHED", 2)
    originals = Originals([n.text for n in HELD], [n.fields for n in HELD])
    source = Target(embed(originals.texts), originals, notes=True)
    run = make_run(tmp_path)
    found = controls.without_network(source, embed, run)
    assert found["slots.exact"] == 1
    assert found["slots.texts"] == 2
    assert 0.5 < found["ridge.token_f1"] < 1
    assert "ridge.exact" not in found
    embed.asked.clear()
    assert controls.without_network(source, embed, run) == found
    assert not embed.asked
