"""The run directory: what is written, what is refused, what survives a kill."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kdst_core
from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_core.runs.rundir import Run, slug
from tests.warm import ROOT, completed, kdst

SMALL = ["--images", "100", "--types", "contrast,fog", "--sgld-steps", "2", "--buffer-size", "50"]


def new_run(path: Path) -> Run:
    return Run(path, seed=0, device="cpu", show="quiet")


@pytest.mark.plugins
def test_the_directory_of_a_run_holds_what_the_design_says(tmp_path: Path) -> None:
    done = kdst("run", "tea", *SMALL, "--out", "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = {p.name for p in (tmp_path / "r").iterdir()}
    wanted = {"config.toml", "env.json", "requirements.lock", "events.jsonl"}
    wanted |= {"artifacts", "result.json", "report.html"}
    assert names == wanted
    result = json.loads((tmp_path / "r/result.json").read_text())
    keys = "schema method capability plugin_version core_version seed device options input seconds"
    assert {*keys.split(), "metrics", "artifacts"} <= result.keys()
    untold = {name for name, value in result["metrics"].items() if value is None}
    costs = {"cost_x_source", "baseline.norm.cost_x_source", "baseline.source.cost_x_source"}
    assert untold == costs, "of fewer than ten batches"
    told = [value for name, value in result["metrics"].items() if name not in untold]
    assert all(isinstance(value, int | float) for value in told)
    assert all((tmp_path / "r" / p).is_file() for p in result["artifacts"].values())
    events = [json.loads(line) for line in (tmp_path / "r/events.jsonl").read_text().splitlines()]
    assert [e["step"] for e in events] == [1, 2, 3, 4]


@pytest.mark.plugins
def test_the_same_seed_gives_the_same_result_file(tmp_path: Path) -> None:
    results = []
    for name in ("a", "b"):
        kdst_core.run("tea", out=tmp_path / name, images=60, types=["fog"], sgld_steps=2, seed=5)
        result = json.loads((tmp_path / name / "result.json").read_text())
        timed = ("seconds", "cost")
        metrics = {k: v for k, v in result["metrics"].items() if not any(t in k for t in timed)}
        results.append({**result, "seconds": 0, "metrics": metrics})
    assert results[0] == results[1]


@pytest.mark.plugins
def test_python_and_command_give_the_same_metrics(tmp_path: Path) -> None:
    kdst("run", "norm", "--images", "60", "--types", "fog", "--out", "c", cwd=tmp_path)
    result = kdst_core.run("norm", out=tmp_path / "p", images=60, types=["fog"])
    command = json.loads((tmp_path / "c/result.json").read_text())["metrics"]
    assert command["accuracy.mean"] == result.metrics["accuracy.mean"]
    assert command.keys() == result.metrics.keys()


@pytest.mark.plugins
def test_the_resolved_configuration_repeats_the_run(tmp_path: Path) -> None:
    kdst("run", "tea", *SMALL, "--seed", "3", "--out", "a", cwd=tmp_path)
    again = kdst("run", "tea", "--config", "a/config.toml", "--out", "b", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    first, second = (json.loads((tmp_path / n / "result.json").read_text()) for n in "ab")
    assert first["metrics"]["nll.mean"] == second["metrics"]["nll.mean"]
    assert first["options"] == second["options"]
    assert first["command"] == second["command"]


@pytest.mark.plugins
def test_flags_beat_environment_beats_toml(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[tea]\nsgld_steps = 4\nlr = 0.5\n[run]\nseed = 7\n")
    options = ["--images", "20", "--types", "fog", "--buffer-size", "20", "--config", "c.toml"]
    env = {"KDST_TEA_SGLD_STEPS": "3", "KDST_TEA_BUFFER_SIZE": "30"}
    done = kdst("run", "tea", *options, "--out", "r", cwd=tmp_path, **env)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r/result.json").read_text())
    chosen = {k: result["options"][k] for k in ("sgld_steps", "lr", "buffer_size")}
    assert chosen == {"sgld_steps": 3, "lr": 0.5, "buffer_size": 20}
    assert result["seed"] == 7


@pytest.mark.plugins
def test_a_word_after_the_method_is_its_data(tmp_path: Path) -> None:
    done = kdst("run", "norm", "cifar10-c:nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere is not a directory" in done.stderr
    twice = kdst("run", "norm", "digits", "--data", "npz:a.npz", cwd=tmp_path)
    assert twice.returncode == 2
    assert "the data are given twice: digits and --data npz:a.npz" in twice.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.plugins
def test_a_bad_variable_breaks_the_run_and_not_the_help() -> None:
    assert kdst("run", "tea", "--help", KDST_TEA_LR="fast").returncode == 0
    done = kdst("run", "tea", KDST_TEA_LR="fast")
    assert done.returncode == 2
    assert "environment variable KDST_TEA_LR: 'fast' is not a number" in done.stderr


def _interrupted(
    directory: Path, options: list[str], sign: signal.Signals, step: int
) -> "subprocess.CompletedProcess[str]":
    """Carry out a run that sends itself a signal at a step."""
    words = [str(int(sign)), str(step), "run", "tea", *options, "--out", "r"]
    return completed("-m", "tests.at_step", *words, path=ROOT, cwd=directory)


THREE_STREAMS = [
    *["--types", "contrast,fog,pixelate", "--batch-size", "25", "--sgld-steps", "3", "--seed", "2"]
]


@pytest.mark.parametrize("profile", ["published", "corrected"])
@pytest.mark.plugins
def test_a_killed_run_resumes_to_the_metrics_of_an_uninterrupted_one(
    tmp_path: Path, profile: str
) -> None:
    options = [*THREE_STREAMS, "--buffer-size", "500", "--profile", profile, "--images", "150"]
    killed = _interrupted(tmp_path, options, signal.SIGKILL, step=8)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "r/checkpoint.json").exists()
    assert not (tmp_path / "r/result.json").exists()
    done = kdst("run", "tea", *options, "--out", "r", "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole = kdst("run", "tea", *options, "--out", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    resumed, expected = (
        json.loads((tmp_path / n / "result.json").read_text())["metrics"] for n in ("r", "whole")
    )
    timed = ("seconds", "cost")
    measured = [k for k in expected if not any(t in k for t in timed)]
    assert {k: resumed[k] for k in measured} == {k: expected[k] for k in measured}
    one, other = ((tmp_path / n / "events.jsonl").read_text() for n in ("r", "whole"))
    assert one == other
    assert not list((tmp_path / "r").glob("checkpoint*"))


@pytest.mark.plugins
def test_ctrl_c_ends_with_130_and_says_how_to_continue(tmp_path: Path) -> None:
    stopped = _interrupted(tmp_path, THREE_STREAMS, signal.SIGINT, step=2)
    assert stopped.returncode == 130
    assert "Traceback" not in stopped.stderr
    assert "--out r --resume" in stopped.stderr
    assert not (tmp_path / "r/result.json").exists()


@pytest.mark.plugins
def test_a_finished_run_is_never_overwritten(tmp_path: Path) -> None:
    options = ["--images", "20", "--types", "fog", "--out", "r"]
    assert kdst("run", "norm", *options, cwd=tmp_path).returncode == 0
    before = (tmp_path / "r/result.json").read_bytes()
    done = kdst("run", "norm", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert "holds a finished run, which is never overwritten" in done.stderr
    assert kdst("run", "norm", *options, "--resume", cwd=tmp_path).returncode == 0
    other = kdst("run", "norm", *options, "--seed", "4", "--resume", cwd=tmp_path)
    assert other.returncode == 2
    assert "run.seed: 0 -> 4" in other.stderr
    assert (tmp_path / "r/result.json").read_bytes() == before


def test_resuming_with_other_options_is_refused_and_names_them(tmp_path: Path) -> None:
    run = new_run(tmp_path / "r")
    run.open({"tea": {"lr": 0.1}, "run": {"seed": 0}}, resume=False)
    run.close()
    with pytest.raises(KdstError, match=r"another configuration \(tea.lr: 0.1 -> 0.2\)"):
        new_run(tmp_path / "r").open({"tea": {"lr": 0.2}, "run": {"seed": 0}}, resume=True)
    with pytest.raises(KdstError, match="add --resume"):
        new_run(tmp_path / "r").open({"tea": {"lr": 0.1}, "run": {"seed": 0}}, resume=False)


@pytest.mark.plugins
def test_a_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r/thesis.tex").write_text("years of work")
    done = kdst("run", "norm", "--out", "r", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds other files" in done.stderr
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["thesis.tex"]


@pytest.mark.plugins
def test_a_directory_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = kdst("run", "norm", "--images", "20", "--out", "file/r", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot write the run directory" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.plugins
def test_a_full_disk_is_one_line_and_leaves_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Run, name: str, value: float, step: int, **context: object) -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")

    monkeypatch.setattr(Run, "log", full)
    with pytest.raises(KdstError, match="No space left on device"):
        kdst_core.run("norm", out=tmp_path / "r", images=20, types=["fog"])
    assert not (tmp_path / "r").exists()


def test_an_error_after_a_checkpoint_keeps_the_progress(tmp_path: Path) -> None:
    run = new_run(tmp_path / "r")
    run.open({"run": {"seed": 0}}, resume=False)
    run.checkpoint({"step": 3})
    run.discard_without_progress()
    run.close()
    again = new_run(tmp_path / "r")
    assert again.open({"run": {"seed": 0}}, resume=True)
    assert again.restore() == {"step": 3}
    again.close()


def test_an_empty_directory_of_the_users_survives_an_error(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    run = new_run(tmp_path / "r")
    run.open({}, resume=False)
    run.discard_without_progress()
    assert list((tmp_path / "r").iterdir()) == []


def test_two_processes_cannot_share_a_directory(tmp_path: Path) -> None:
    first = new_run(tmp_path / "r")
    first.open({}, resume=False)
    with pytest.raises(KdstError, match="another process"):
        new_run(tmp_path / "r").open({}, resume=True)
    first.close()


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    write_atomically(path, "old")

    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@given(st.text(max_size=200))
def test_a_slug_is_one_safe_component_or_an_error(name: str) -> None:
    try:
        safe = slug(name)
    except KdstError:
        return
    assert 0 < len(safe) <= 100
    assert not safe.startswith(".")
    assert "/" not in safe
    assert safe == slug(safe)


def test_a_limit_that_may_grow_is_resumed_with_a_higher_one(tmp_path: Path) -> None:
    def opened(calls: int, rate: float = 0.1, resume: bool = True) -> Run:
        run = Run(tmp_path / "r", seed=0, device="cpu", show="quiet", growing=[("input", "calls")])
        run.open({"input": {"calls": calls}, "m": {"lr": rate}}, resume=resume)
        run.close()
        return run

    opened(40, resume=False)
    opened(40)
    opened(60)
    with pytest.raises(KdstError, match=r"another configuration \(input.calls: 60 -> 50\)"):
        opened(50)
    with pytest.raises(KdstError, match=r"another configuration \(m.lr: 0.1 -> 0.2\)"):
        opened(70, rate=0.2)
    assert "calls = 60" in (tmp_path / "r/config.toml").read_text()
