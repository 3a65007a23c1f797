"""TensorBoard shows what a run logged, each step once, and the metrics of its result."""

from pathlib import Path
from typing import Any

import pytest

import kdst_core
from kdst_core.errors import KdstError
from kdst_core.runs.rundir import Run
from kdst_tensorboard.writer import FOLDER, Writer


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard reads, by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(directory / FOLDER), {"scalars": 0, "tensors": 0})
    found.Reload()
    return {
        tag: [(e.step, round(e.value, 6)) for e in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def watched(directory: Path, *, resume: bool) -> Run:
    """Return a run that TensorBoard watches."""
    run = Run(directory, seed=0, device="cpu", show="quiet")
    run.open({"run": {"seed": 0}}, resume=resume)
    run.listeners = [Writer(directory)]
    return run


def test_a_run_that_continues_shows_every_step_once(tmp_path: Path) -> None:
    run = watched(tmp_path / "r", resume=False)
    run.log("accuracy", 0.1, 1)
    run.checkpoint({"step": 1})
    run.log("accuracy", 0.2, 2)
    run.log("loss", float("nan"), 2)
    run.close()
    run = watched(tmp_path / "r", resume=True)
    run.log("accuracy", 0.3, 2)
    result: dict[str, Any] = {"metrics": {"accuracy.mean": 0.25}, "options": {"lr": 0.1}}
    run.finish(result)
    run.close()
    assert scalars(tmp_path / "r") == {
        "accuracy": [(1, 0.1), (2, 0.3)],
        "result/accuracy.mean": [(2, 0.25)],
    }


def test_a_listener_that_fails_does_not_end_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = watched(tmp_path / "r", resume=False)
    listener: Any = run.listeners[0]
    listener.file.close()
    listener.file = None
    run.log("accuracy", 0.1, 1)
    run.log("accuracy", 0.2, 2)
    run.close()
    assert capsys.readouterr().err.count("Warning: kdst_tensorboard stopped watching") == 1
    assert len((tmp_path / "r/events.jsonl").read_text().splitlines()) == 2


def test_a_run_is_watched_only_when_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("kdst_adapt")
    options: dict[str, Any] = {"images": 40, "types": ["fog"], "batch_size": 20}
    kdst_core.run("norm", out=tmp_path / "a", **options)
    result = kdst_core.run("norm", out=tmp_path / "b", observe=["tensorboard"], **options)
    assert not (tmp_path / "a" / FOLDER).exists()
    found = scalars(tmp_path / "b")
    assert [step for step, _ in found["accuracy"]] == [1, 2]
    expected = result.metrics["accuracy.mean"]
    assert found["result/accuracy.mean"][0][1] == pytest.approx(expected, abs=1e-6)


def test_an_observer_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("kdst_adapt")
    with pytest.raises(KdstError, match="no observer 'tensorbord' is installed"):
        kdst_core.run("norm", out=tmp_path / "a", observe=["tensorbord"], images=20)
    assert not (tmp_path / "a").exists()
