"""Figures that mean something, and labels that a method's call cannot reach."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdst_adapt.loop import _batch
from kdst_adapt.measures import CONFIDENCE, Trace
from kdst_adapt.outcome.metrics import cost, equals_norm, twin
from kdst_adapt.streams.files import Files
from kdst_adapt.streams.shift import Shift
from kdst_core import run
from kdst_core.bench import sealed
from kdst_core.contracts import Diagnostics
from kdst_core.plugins.method import load


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
    same = {"m": Trace(records=[[one]], updates=1), "norm": norm}
    assert not equals_norm(same, "m", continual=True)
    after = one.clone()
    after[:, 0, CONFIDENCE] = 0.5
    assert not equals_norm({"m": Trace(records=[[after]], updates=1), "norm": norm}, "m")
    less_sure = one.clone()
    less_sure[:, :, CONFIDENCE] = 0.5
    assert not equals_norm({"m": Trace(records=[[less_sure]], updates=1), "norm": norm}, "m")


def test_the_baseline_with_the_same_predictions_is_named() -> None:
    one, two = torch.ones(4, 3, 5), torch.zeros(4, 3, 5)
    traces = {
        "m": Trace(records=[[one]], updates=0),
        "norm": Trace(records=[[two]], updates=0),
        "source": Trace(records=[[one + 1e-6]], updates=0),
    }
    assert twin(traces, "m") == "source"
    assert twin({**traces, "source": traces["norm"]}, "m") == ""


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


class Peeking:
    """A predictor that looks for labels in its callers, whenever code of it runs."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def look(self) -> None:
        """Keep every tensor and array of labels in the frames of the callers."""
        frame: Any = sys._getframe()
        while frame is not None:
            self.found += [v for k, v in frame.f_locals.items() if k == "labels"]
            frame = frame.f_back

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        self.look()
        return torch.zeros(len(x), 10).as_subclass(lazy(self))

    @property
    def diagnostics(self) -> Diagnostics:
        self.look()
        zeros = torch.zeros(3, 10)
        return Diagnostics(zeros, zeros, 1, 3, Scalars(self), {})


class Scalars(dict[str, float]):
    """Scalars that are found only when they are asked for."""

    def __init__(self, owner: Peeking) -> None:
        super().__init__()
        self.owner = owner

    def items(self) -> Any:
        self.owner.look()
        return {"loss": 0.5}.items()


def lazy(owner: Peeking) -> type[torch.Tensor]:
    """A kind of tensor that looks whenever it is computed with."""

    class Lazy(torch.Tensor):
        @classmethod
        def __torch_function__(
            cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            owner.look()
            return super().__torch_function__(func, types, args, kwargs or {})

    return Lazy


def test_no_code_of_a_method_runs_where_labels_are_in_the_open() -> None:
    labels = np.array([3, 1, 2])
    shift = Shift("s", 5, np.zeros((3, 4, 4, 1), np.uint8), labels)
    del labels
    trace, peeking = Trace(), Peeking()
    trace.begin()
    _batch(load("norm"), peeking, trace, torch.zeros(3, 1, 4, 4), shift, np.arange(3), "cpu")  # type: ignore[arg-type]
    assert peeking.found == []
    assert trace.scalars == {"loss": [0.5]}
    assert trace.last().shape == (3, 3, 5)
    with sealed.closed(), pytest.raises(RuntimeError, match="judged by"):
        trace.last()


def test_the_paths_of_a_folder_of_classes_are_sealed() -> None:
    files = Files([Path("cats/1.png"), Path("dogs/2.png")], lambda p: np.zeros((len(p), 2, 2, 3)))
    with sealed.closed(), pytest.raises(RuntimeError):
        files.paths  # noqa: B018
    given = files.opened()
    with sealed.closed():
        assert given[np.array([1])].shape == (1, 2, 2, 3)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"corrupt": ["contrast:3"]}, "3"),
        ({"corrupt": ["contrast:3", "fog"]}, "3,5"),
        ({"types": ["fog"], "severity": "1-2"}, "1-2"),
    ],
)
def test_the_severities_that_a_run_shows_are_those_it_ran(
    tmp_path: Path, options: dict[str, Any], shown: str
) -> None:
    found = run("source", out=tmp_path / "r", images=20, **options)
    assert found.data["input"]["severity"] == shown
    assert f"<dt>severity</dt><dd>{shown}</dd>" in (tmp_path / "r/report.html").read_text()
