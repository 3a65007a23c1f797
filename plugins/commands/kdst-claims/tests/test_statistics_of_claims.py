"""Student's t against published quantiles, errors over seeds and parts, Holm's procedure."""

import math

import pytest

from kdst_batch.statistics import T_975
from kdst_claims.statistics import Effect, adjusted, holm, of_table, quantile, student_p


def test_quantiles_are_those_of_published_tables() -> None:
    for freedom, wanted in enumerate(T_975, 1):
        assert quantile(0.05, freedom) == pytest.approx(wanted, abs=6e-4)
    assert quantile(0.05, None) == pytest.approx(1.959964, abs=1e-6)
    assert quantile(0.01, 3) == pytest.approx(5.841, abs=1e-3)
    assert quantile(0.001, 10) == pytest.approx(4.587, abs=1e-3)


@pytest.mark.parametrize("freedom", [1, 2, 3, 6, 40, 400])
def test_p_and_quantile_are_inverse(freedom: int) -> None:
    for level in (0.5, 0.05, 0.001):
        assert student_p(quantile(level, freedom), freedom) == pytest.approx(level, rel=1e-9)
    assert student_p(0.0, freedom) == 1


def test_the_error_of_seeds_alone_is_students() -> None:
    effect = of_table([[1.0], [2.0], [3.0]])
    assert effect == Effect(2.0, pytest.approx(math.sqrt(1 / 3)), 2)
    low, high = effect.interval(0.05)
    assert (low, high) == pytest.approx(
        (2 - 4.303 / math.sqrt(3), 2 + 4.303 / math.sqrt(3)), abs=1e-3
    )


def test_errors_of_seeds_and_parts_are_added() -> None:
    effect = of_table([[1.0, 3.0], [2.0, 4.0]])
    of_seeds, of_parts = 0.5 / 2, 2.0 / 2
    assert effect.error == pytest.approx(math.sqrt(of_seeds + of_parts))
    assert effect.freedom == 1


def test_a_single_number_decides_nothing() -> None:
    effect = of_table([[5.0]])
    assert effect.p(0.0) == 1
    assert effect.interval(0.05) == (-math.inf, math.inf)


def test_what_never_varies_is_judged_by_the_sign_test() -> None:
    effect = of_table([[2.0]] * 6)
    assert effect.p(1.0) == 2 * 0.5**6
    assert effect.p(2.0) == 1
    assert effect.interval(0.05) == (2.0, 2.0)
    assert effect.interval(0.03) == (-math.inf, math.inf)


def test_holm_is_the_published_example() -> None:
    """Four hypotheses; two are rejected at 5 %, where Bonferroni would reject as many at .0125."""
    ps = [0.01, 0.04, 0.03, 0.005]
    assert adjusted(ps) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    levels = holm(ps)
    assert levels == pytest.approx([0.05 / 3, 0.025, 0.025, 0.0125])
    assert [p <= level for p, level in zip(ps, levels, strict=True)] == [True, False, False, True]


@pytest.mark.parametrize("ps", [[0.05], [0.2, 0.001, 0.04], [0.5] * 5, [0.0] * 4, []])
def test_levels_and_adjusted_ps_reject_the_same(ps: list[float]) -> None:
    by_level = [p <= level for p, level in zip(ps, holm(ps), strict=True)]
    assert by_level == [p <= 0.05 for p in adjusted(ps)]
