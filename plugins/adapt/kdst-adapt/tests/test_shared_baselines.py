"""Baselines once for a stream: kept records give the figures of a run that computes its own."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import kdst_core
from kdst_adapt import loop
from kdst_adapt.baselines import fixed
from kdst_adapt.baselines.records import BASELINES
from kdst_adapt.checks import small_network
from kdst_adapt.measures import Trace
from kdst_adapt.studies.probe import Probe
from kdst_batch.compare import compare
from kdst_batch.entrants import entrants
from kdst_batch.plan import of_comparison, sharing_first
from kdst_core.options import Given
from kdst_core.runs.codecs import TorchCodec
from kdst_core.runs.rundir import Run

SMALL: dict[str, Any] = {"images": 40, "types": "fog", "batch_size": 20, "seed": 3}


def figures(result: kdst_core.Result) -> dict[str, Any]:
    timed = ("seconds", "cost")
    return {k: v for k, v in result.metrics.items() if not any(t in k for t in timed)}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    predict = fixed.Fixed.predict

    def counting(self: fixed.Fixed, x: torch.Tensor) -> torch.Tensor:
        counted.append(len(x))
        return predict(self, x)

    monkeypatch.setattr(fixed.Fixed, "predict", counting)
    return counted


def test_kept_baselines_give_the_same_figures_and_are_not_run_again(
    tmp_path: Path, calls: list[int]
) -> None:
    alone = kdst_core.run("tent", out=tmp_path / "a", **SMALL)
    assert len(calls) == 4
    shared = {**SMALL, "shared_baselines": tmp_path / "kept"}
    kdst_core.run("norm", out=tmp_path / "b", **shared)
    assert len(calls) == 8
    (kept,) = (tmp_path / "kept").iterdir()
    told = kdst_core.run("tent", out=tmp_path / "c", **shared)
    assert len(calls) == 8, "both baselines came from the file"
    assert figures(told) == figures(alone)
    assert told.data["input"] == alone.data["input"], "where it came from is no part of the result"
    curves = [json.loads((tmp_path / r / "artifacts/curves.json").read_text()) for r in "ac"]
    assert curves[0] == curves[1]
    kdst_core.run("tent", out=tmp_path / "d", **{**shared, "severity": "4"})
    assert len(calls) == 12, "another stream has baselines of its own"
    kept.write_bytes(b"broken")
    again = kdst_core.run("tent", out=tmp_path / "e", **shared)
    assert len(calls) == 16
    assert figures(again) == figures(alone)


def test_a_run_begun_with_kept_baselines_goes_on_without_them(tmp_path: Path) -> None:
    whole = Trace([[torch.zeros(2, 3, 5)]], [0.1])
    traces = {"source": whole, "norm": whole, "tent": Trace([[torch.ones(2, 3, 5)]], [0.2])}
    net = fixed.norm(small_network(), "cpu")
    run = Run(tmp_path / "r", seed=0, device="cpu", codec=TorchCodec(), show="quiet")
    run.open({}, resume=False)
    run.checkpoint(loop._state(1, "id", traces, {"tent": net}, Probe()))
    begun = {name: Trace() for name in traces}
    predictors: dict[str, Any] = dict.fromkeys(traces, net)
    assert loop._restore(run, "id", begun, predictors, Probe()) == 1
    run.close()
    assert list(predictors) == ["tent"]
    assert all(torch.equal(begun[n].last(), traces[n].last()) for n in traces)


def test_a_comparison_computes_the_baselines_of_a_stream_once(tmp_path: Path) -> None:
    pytest.importorskip("kdst_tent")
    small: dict[str, Any] = {"images": 40, "types": "fog", "batch_size": 20}
    found = compare(["norm", "tent", "source"], out=tmp_path / "c", runs=tmp_path / "runs", **small)
    assert not found.lost
    assert len([*(tmp_path / "runs/shared").glob("*/*.pt")]) == 1
    alone = kdst_core.run("tent", out=tmp_path / "alone", **small)
    runs = json.loads((tmp_path / "c/comparison.json").read_text())["runs"]
    (tent,) = (Path(p) for p, name in runs.items() if name.startswith("tent"))
    told = json.loads((tent / "result.json").read_text())["metrics"]
    for name, value in figures(alone).items():
        assert told[name] == value, name
    assert {f"baseline.{b}.accuracy.mean" for b in BASELINES} <= told.keys()


def test_the_first_run_on_each_stream_comes_first(tmp_path: Path) -> None:
    given = {"--severity": [Given(v, "--severity", Path()) for v in ("4", "5")]}
    cases = of_comparison(entrants(["norm", "source"]), given, [0, 1], tmp_path)
    order = [(c.method, c.seed, c.variant) for c in sharing_first(cases)]
    assert order[:4] == [("norm", s, f"--severity {v}") for v in (4, 5) for s in (0, 1)]
    assert sorted(order) == sorted((c.method, c.seed, c.variant) for c in cases)
