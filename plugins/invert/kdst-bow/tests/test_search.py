"""The search finds the words of an embedder that adds them, and keeps to what it may ask."""

import itertools
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from kdst_bow.lexicon import Lexicon, fit
from kdst_bow.search import NOTHING, Search, SearchSettings
from kdst_core.contracts import Inversion

HOW = SearchSettings(threshold=2.0, steps=12, candidates=10)


@pytest.fixture
def lexicon(toy: Any, embed: Any) -> Lexicon:
    """A lexicon of the ten words."""
    texts = toy.sentences(200, seed=3)
    return fit(texts, embed(texts), "sums", 10, 1.0)


def read(lexicon: Lexicon, embed: Any, texts: list[str], how: SearchSettings) -> list[Inversion]:
    """All steps of a block."""
    embed.asked.clear()
    e = embed(texts)
    embed.asked.clear()
    return list(Search(lexicon, embed, how).read(e, range(len(texts))))


def test_every_word_is_found_from_nothing(toy: Any, lexicon: Lexicon, embed: Any) -> None:
    texts = toy.sentences(12, seed=5)
    steps = read(lexicon, embed, texts, HOW)
    assert steps[0].texts == [NOTHING] * 12
    assert [sorted(t.split()) for t in steps[-1].texts] == [sorted(t.split()) for t in texts]
    assert steps[-1].last
    assert float(steps[-1].cosine.min()) > 1 - 1e-5


def test_the_regression_alone_asks_nobody(toy: Any, lexicon: Lexicon, embed: Any) -> None:
    steps = read(lexicon, embed, toy.sentences(5), evolve(HOW, threshold=0.3, budget=0))
    assert embed.asked == []
    assert len(steps) == 1
    assert steps[0].last
    assert bool(steps[0].cosine.isnan().all())
    assert all(text != NOTHING for text in steps[0].texts)


@settings(max_examples=25, deadline=None)
@given(budget=st.integers(1, 40), seed=st.integers(0, 50), steps=st.integers(0, 8))
def test_calls_cosine_and_numbers_are_what_they_say(
    toy: Any, budget: int, seed: int, steps: int
) -> None:
    embed = toy.Sums()
    texts = toy.sentences(200, seed=3)
    lexicon = fit(texts, embed(texts), "sums", 10, 1.0)
    attacked = toy.sentences(4, length=5, seed=seed)
    how = evolve(HOW, budget=budget, steps=steps, candidates=6)
    found = read(lexicon, embed, attacked, how)
    assert [i.step for i in found] == list(range(len(found)))
    assert [i.last for i in found] == [False] * (len(found) - 1) + [True]
    assert found[-1].embedder_calls == len(embed.asked) == len(set(embed.asked))
    assert len(embed.asked) <= budget * len(attacked)
    for before, after in itertools.pairwise(found):
        assert bool((after.cosine >= before.cosine).all())


def test_a_row_is_read_alike_alone_and_among_others(toy: Any, lexicon: Lexicon, embed: Any) -> None:
    texts = toy.sentences(6, seed=9)
    together = read(lexicon, embed, texts, HOW)[-1].texts
    assert together == [read(lexicon, embed, [text], HOW)[-1].texts[0] for text in texts]
