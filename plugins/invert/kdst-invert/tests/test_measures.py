"""Measures against values worked out by hand, and intervals against their definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdst_invert.measures import recovery as measures
from kdst_invert.measures.units import pieces, units


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


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Base excess -5.5 (−3), not 5", ["base", "excess", "-5.5", "-3", "not", "5"]),
        ("3-5 days, COVID-19, +2", ["3", "5", "days", "covid", "19", "2"]),
        ("1.5 mg, 1,5 mg, 15mg", ["1.5", "mg", "1,5", "mg", "15", "mg"]),
        ("HIV+ and Rh-, <5 %", ["hiv", "+", "and", "rh", "-", "<", "5", "%"]),
        ("王医生5号", ["王", "医", "生", "5", "号"]),
        ("रोगी को ५ दिन", ["रोगी", "को", "5", "दिन"]),
        ("Don’t DON'T", ["don't", "don't"]),
        ("B12 e\u0301te\u0301", ["b12", "\u00e9t\u00e9"]),
        ("ผู้ป่วย", ["ผู้", "ป่", "ว", "ย"]),
    ],
)
def test_units_keep_signs_marks_and_scripts(text: str, wanted: list[str]) -> None:
    assert units(text) == wanted


def test_marks_that_are_not_seen_are_no_units() -> None:
    assert units("Mül\u00adler \u2695\ufe0f \u200bda") == units("Müller \u2695 da")


def test_unit_f1_tells_what_words_do_not() -> None:
    assert measures.token_f1("excess of 5", "excess of -5") == 1
    assert measures.unit_f1("excess of 5", "excess of -5") == pytest.approx(2 / 3)
    assert measures.unit_f1("dose 1.5", "dose 15") == 0.5
    assert measures.token_f1("王医生住院了。", "李医生住院了。") == 0
    assert measures.unit_f1("王医生住院了。", "李医生住院了。") == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    ("text", "credited"),
    [
        ("Ann Lee, 12 years, seen on 3 May.", 1),
        ("Ann Lee, 40 years, seen on 12 May.", 0),
        ("Ann Lee, 40 years, seen on May 12th, 2020.", 0),
        ("Ann Lee, 40 years, seen on 2020-05-12 or 12.05.2020.", 0),
        ("Ann Lee, 40 years, given 12 mg, 12.5 ml, 12/80 and -12.", 0),
        ("Ann Lee, 112 years, A12.", 0),
        ("Ann Lee, 12, may go home.", 1),
    ],
)
def test_an_age_is_not_credited_from_a_date_or_a_dose(text: str, credited: int) -> None:
    original = "Ann Lee, aged 12, was seen on 7 June."
    assert measures.says(text, "12", original) == credited


def test_a_day_is_credited_where_the_original_has_it_in_a_date() -> None:
    assert measures.says("on 12 May", "12", "seen on 12 June") == 1
    assert measures.says("aged 12", "12", "seen on 12 June") == 0


def test_pieces_are_the_whole_text_and_keep_signs_and_scripts() -> None:
    for text in ("Base excess -5, it’s  ok.", "王医生 住院。", "रोगी को 5 दिन!"):
        assert "".join(pieces(text)) == text
    assert pieces("of -5.5 mg.") == ["of ", "-5.5 ", "mg", "."]
    assert pieces("王医生。") == ["王", "医", "生", "。"]
    assert pieces("रोगी को") == ["रोगी ", "को"]


def test_width_of_characters_is_no_difference_and_a_wide_comma_parts_numbers() -> None:
    assert measures.unit_f1("体温37.5", "体温３７．５") == 1
    assert measures.unit_f1("カルテ", "ｶﾙﾃ") == 1
    assert measures.unit_f1("ABC", "ＡＢＣ") == 1
    assert units("1，2") == ["1", "2"]
