"""Claims about intervals and the area under the curve."""

import math

import pytest
import torch

from recipes.edit.intervals import area_under_curve, mean, rate


def test_wilson_interval_matches_its_published_example() -> None:
    """Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662, 0 of 20 gives 0 to 0.1611."""
    measured = rate(torch.arange(263) < 81)
    assert measured.low == pytest.approx(0.2553, abs=5e-5)
    assert measured.high == pytest.approx(0.3662, abs=5e-5)
    none = rate(torch.zeros(20, dtype=torch.bool))
    assert none.low == 0
    assert none.high == pytest.approx(0.1611, abs=5e-5)


def test_interval_of_a_mean_is_its_standard_error() -> None:
    measured = mean(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert measured.value == 2.5
    assert measured.high - measured.value == pytest.approx(1.959964 * math.sqrt(5 / 3) / 2)


def test_area_under_curve_counts_ordered_pairs_and_halves_ties() -> None:
    scores = torch.tensor([[0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0], [3.0, 1.0, 2.0, 0.0]])
    inside = torch.tensor([[False, False, True, True]]).expand(3, 4)
    assert area_under_curve(scores, inside).tolist() == [1.0, 0.5, 0.25]
    assert area_under_curve(scores, torch.ones_like(inside)).tolist() == [0.5, 0.5, 0.5]
