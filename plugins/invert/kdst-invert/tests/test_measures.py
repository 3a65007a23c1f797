"""Measures against values worked out by hand, and intervals against their definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdst_invert import measures


def test_exact_match_ignores_space_alone() -> None:
    assert measures.exact("a  b ", "a b") == 1
    assert measures.exact("a b", "A b") == 0


def test_token_f1_counts_words_as_often_as_they_occur() -> None:
    # 3 of 4 words found, 3 of 5 wanted: P = 3/4, R = 3/5
    assert measures.token_f1("the the cat dog", "the cat sat the mat") == pytest.approx(2 / 3)
    assert measures.token_f1("", "a") == 0


def test_bleu_is_that_of_sacrebleu() -> None:
    import sacrebleu

    pair = "Ann Lee, aged 40, has gout.", "Ann Lee, aged 41, has gout and pain."
    wanted = sacrebleu.sentence_bleu(pair[0], [pair[1]]).score / 100
    assert measures.bleu(*pair) == pytest.approx(wanted)
    assert measures.bleu(pair[0], pair[0]) == 1


def test_a_field_counts_when_its_words_stand_together() -> None:
    assert measures.says("Seen: Ann Lee, aged 40.", "Ann Lee") == 1
    assert measures.says("Ann Mary Lee", "Ann Lee") == 0
    assert measures.says("aged 140", "40") == 0
    assert measures.says("Mr O'Brien came", "O'Brien") == 1


@given(st.text(max_size=40))
def test_a_text_against_itself_scores_full(text: str) -> None:
    assert measures.exact(text, text) == 1
    if measures.words(text):
        assert measures.token_f1(text, text) == 1


def test_intervals_hold_the_mean_and_narrow_with_more_texts() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.random(20), rng.random(2000)
    small, large = measures.interval(few), measures.interval(many)
    assert small.low < small.value < small.high
    assert large.high - large.low < small.high - small.low
    # the bootstrap's standard error is that of the mean
    assert (large.high - large.low) / 3.92 == pytest.approx(many.std() / math.sqrt(2000), rel=0.1)


def test_rates_of_nothing_or_all_get_wilsons_interval() -> None:
    none, all_of_them = measures.interval([0.0] * 100), measures.interval([1.0] * 100)
    assert (none.low, none.high) == (0.0, pytest.approx(0.0370, abs=1e-3))
    assert (all_of_them.low, all_of_them.high) == (pytest.approx(0.963, abs=1e-3), 1.0)


def test_texts_without_a_field_are_left_out() -> None:
    found = measures.interval([1.0, math.nan, 0.0, math.nan])
    assert (found.value, found.count) == (0.5, 2)
