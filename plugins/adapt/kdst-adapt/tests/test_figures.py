"""Figures that mean something, and labels that a method's call cannot reach."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdst_adapt.data import Shift
from kdst_adapt.protocol import Trace
from kdst_adapt.summarize import cost, equals_norm
from kdst_core import run, sealed


def test_a_cost_needs_ten_batches_after_the_warm_up() -> None:
    slow, fast = Trace(seconds=[9.0, 9.0] + [2.0] * 10), Trace(seconds=[5.0, 5.0] + [1.0] * 10)
    assert cost(slow, fast) == 2.0
    assert cost(Trace(seconds=[2.0] * 11), fast) is None


def test_a_reading_before_the_only_update_cannot_differ_from_norm() -> None:
    one, two = torch.ones(4, 3, 5), torch.zeros(4, 3, 5)
    norm = Trace(records=[[one]], updates=0)
    assert equals_norm({"m": Trace(records=[[one]], updates=1), "norm": norm}, "m")
    assert not equals_norm({"m": Trace(records=[[two]], updates=1), "norm": norm}, "m")
    assert not equals_norm({"m": Trace(records=[[one]], updates=0), "norm": norm}, "m")


def test_a_run_of_two_batches_tells_no_cost(tmp_path: Path) -> None:
    found = run("norm", out=tmp_path / "r", images=20, types=["contrast"])
    assert found.metrics["cost_x_source"] is None
    assert json.loads((tmp_path / "r" / "result.json").read_text())["metrics"]["accuracy.mean"] > 0
    assert any(line.startswith("cost") and "–" in line for line in found.summary)


def test_labels_lie_in_no_object_of_a_shift() -> None:
    labels = np.array([3, 1, 2])
    shift = Shift("s", 5, np.zeros((3, 4, 4, 1), np.uint8), labels)
    held: list[Any] = [getattr(shift, a.name) for a in type(shift).__attrs_attrs__]  # type: ignore[attr-defined]
    assert not any(isinstance(v, np.ndarray) and v.shape == (3,) for v in held)
    assert shift.labels.tolist() == [3, 1, 2]
    assert sys.getrefcount(labels) <= 2
    with sealed.closed():
        try:
            shift.labels  # noqa: B018
        except RuntimeError:
            return
    raise AssertionError("labels were read while a method works")
