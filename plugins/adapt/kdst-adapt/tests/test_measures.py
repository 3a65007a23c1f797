"""Measures against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdst_adapt import measures
from kdst_adapt.measures import Trace
from kdst_adapt.outcome import alarms, terminal
from kdst_adapt.streams.shift import Shift

USUAL = {"updates": True, "batch_norm": True, "largest": 50, "twin": ""}


def naive_ece(confidence: np.ndarray, correct: np.ndarray) -> float:
    total = 0.0
    for k in range(10):
        inside = (confidence > k / 10) & (confidence <= (k + 1) / 10)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


@settings(deadline=None)
@given(arrays(np.float64, (40, 7), elements=st.floats(-20, 20)), st.integers(0, 2**31))
def test_measures_equal_their_definitions(logits: np.ndarray, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 7, 40)
    records = measures.record(torch.from_numpy(logits), torch.from_numpy(labels))
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    assert records[:, measures.CONFIDENCE].numpy() == pytest.approx(p.max(1), rel=1e-5)
    nll = -np.log(np.maximum(p[np.arange(40), labels], 1e-300))
    assert records[:, measures.NLL].numpy() == pytest.approx(nll, rel=1e-4, abs=1e-5)
    right = records[:, measures.CORRECT].numpy()
    assert measures.accuracy(records) == pytest.approx(right.mean())
    expected = naive_ece(records[:, measures.CONFIDENCE].double().numpy(), right)
    assert measures.expected_calibration_error(records) == pytest.approx(expected, abs=1e-6)


def test_logits_that_are_no_numbers_count_as_wrong() -> None:
    logits = torch.tensor([[float("nan"), 1.0], [0.0, 5.0], [float("inf"), 0.0]])
    records = measures.record(logits, torch.tensor([0, 1, 0]))
    assert records[:, measures.CORRECT].tolist() == [0, 1, 0]
    assert records[:, measures.CLASS].tolist() == [-1, 1, -1]
    assert records.isfinite().all()


def test_the_interval_of_a_difference_is_clustered_by_image() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.zeros(400, 5)
    other = one.clone()
    one[:, measures.CORRECT] = (torch.rand(400, generator=generator) < 0.5).float()
    mean, low, high = measures.paired_difference([one], [other])
    assert mean == pytest.approx(one[:, measures.CORRECT].mean().item())
    repeated = measures.paired_difference([one] * 4, [other] * 4)
    assert repeated == pytest.approx((mean, low, high))


def shift(labels: list[int]) -> Shift:
    return Shift("fog", 5, np.zeros((len(labels), 2, 2, 1), np.uint8), np.array(labels))


def trace(classes: list[int], updates: int) -> Trace:
    records = torch.zeros(len(classes), 3, 5)
    records[:, :, measures.CLASS] = torch.tensor(classes)[:, None]
    return Trace(records=[[records]], seconds=[1.0], updates=updates)


def test_a_collapse_to_one_class_is_a_warning() -> None:
    labels = [0, 1, 2, 3] * 5
    found = alarms.warnings(trace([2] * 20, 1), [shift(labels)], "m", **USUAL)
    assert found == [
        "m's predictions collapse to one class on fog.5 (100% of them, 25% of the labels)."
    ]
    assert not alarms.warnings(trace(labels, 1), [shift(labels)], "m", **USUAL)
    same = [2] * 20
    assert not alarms.warnings(trace(same, 1), [shift(same)], "m", **USUAL)


def test_a_method_that_makes_no_update_is_a_warning() -> None:
    labels = [0, 1, 2, 3] * 5
    found = alarms.warnings(trace(labels, 0), [shift(labels)], "m", **USUAL)
    assert found == ["m made no update at all."]
    found = alarms.warnings(trace(labels, 0), [shift(labels)], "m", **{**USUAL, "twin": "source"})
    assert found == ["m made no update at all; its predictions are those of source."]


def test_columns_of_long_names_stay_apart() -> None:
    shifts = [Shift("fog", 3, np.zeros((1, 8, 8, 3)), np.zeros(1))]
    names = ["norm", "my-own-long-method"]
    keys = [f"accuracy.{shifts[0].key}", "accuracy.mean", "ece.mean", "nll.mean", "cost_x_source"]
    found = {f"{p}{k}": 0.5 for p in ("baseline.norm.", "") for k in keys}
    found |= {f"difference.norm.accuracy.{k}": 0.0 for k in ("mean", "low", "high")}
    table = terminal.lines(found, shifts, names)
    assert table[0].split() == ["accuracy,", "%", *names]
    assert len({len(line) for line in table[:-1]}) == 1
