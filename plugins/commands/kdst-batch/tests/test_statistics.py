"""Claims about the intervals that core, benches and studies share."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdst_batch import statistics


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_holds_the_rate_and_stays_between_0_and_1(right: int, more: int) -> None:
    count = right + more - 1
    low, high = statistics.wilson(right, count)
    assert 0.0 <= low <= (right / count if count else 0.5) <= high <= 1.0


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(15, 20, 0.531, 0.888), (81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611)],
)
def test_wilson_agrees_with_published_examples(
    right: int, count: int, low: float, high: float
) -> None:
    """Newcombe (1998), table I, and Wilson's interval of 15 of 20."""
    found = statistics.wilson(right, count)
    assert found == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))


@pytest.mark.parametrize(
    ("freedom", "value"),
    [(1, 12.7062), (10, 2.2281), (30, 2.0423), (31, 2.0395), (60, 2.0003), (1000, 1.9623)],
)
def test_students_quantile_is_that_of_tables(freedom: int, value: float) -> None:
    assert statistics.student_quantile(freedom) == pytest.approx(value, abs=5e-4)


def test_students_quantile_needs_a_degree_of_freedom() -> None:
    with pytest.raises(ValueError, match="no 0 degrees"):
        statistics.student_quantile(0)


def test_an_interval_that_ends_at_0_has_a_p_of_one_in_twenty() -> None:
    low, _ = statistics.normal_interval(1.0, 1 / statistics.Z_975)
    assert low == pytest.approx(0.0)
    assert statistics.two_sided_p(1.0, 1 / statistics.Z_975) == pytest.approx(0.05)


@pytest.mark.parametrize(("difference", "p"), [(0.0, 1.0), (0.1, 0.0)])
def test_without_an_error_a_difference_is_none_or_sure(difference: float, p: float) -> None:
    assert statistics.two_sided_p(difference, 0.0) == p


def test_fishers_interval_is_that_of_a_textbook() -> None:
    """r = .5 over 28 pairs: tanh(.5493 - .392) and tanh(.5493 + .392)."""
    low, high = statistics.fisher(0.5, 28)
    assert (low, high) == (pytest.approx(0.1560, abs=5e-4), pytest.approx(0.7359, abs=5e-4))
    assert math.isfinite(statistics.fisher(1.0, 10)[1])


def test_the_bootstrap_holds_the_mean_and_repeats() -> None:
    pytest.importorskip("numpy")
    values = [0.0] * 30 + [1.0] * 70
    low, high = statistics.bootstrap(values)
    assert 0.58 < low < 0.7 < high < 0.8
    assert statistics.bootstrap(values) == (low, high)
