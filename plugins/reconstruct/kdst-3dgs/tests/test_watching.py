"""A run is looked at while it goes on: the newest saved state, and newer ones as they come."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import kdst_core
from kdst_3dgs.method import Trainer
from kdst_3dgs.scene import Scene
from kdst_core.cli import cli
from kdst_core.errors import KdstError
from kdst_core.plugins.method import load
from kdst_reconstruct import loop, saved_scene
from kdst_reconstruct.commands import view
from kdst_reconstruct.saved_scene import SavedScene, Unfinished, load_views, open_scene
from kdst_reconstruct.viewer import watching
from kdst_reconstruct.viewer.watching import Watch, follow

SETTINGS: dict[str, Any] = {"width": 64, "iterations": 60, "threads": 1, "flight_frames": 0}
SETTINGS |= {"background": "white", "init_fill": 0}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that Ctrl-C ended after 40 iterations, with a checkpoint after each."""
    directory = tmp_path_factory.mktemp("runs") / "stopped"
    step = Trainer._step

    def interrupted(trainer: Trainer, view: Any) -> None:
        if trainer.iteration == 40:
            raise KeyboardInterrupt
        step(trainer, view)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        patch.setattr(Trainer, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kdst_core.run("3dgs", out=directory, **SETTINGS)
    return directory


def gaussians(count: int) -> Scene:
    """Some Gaussians in front of the first camera."""
    generator = torch.Generator().manual_seed(count)
    return Scene(
        {
            "means": torch.randn(count, 3, generator=generator),
            "quats": torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
            "scales": torch.full((count, 3), -3.0),
            "opacities": torch.zeros(count),
            "sh": torch.zeros(count, 1, 3),
        }
    )


def test_a_run_without_a_result_opens_at_its_newest_state(stopped: Path) -> None:
    assert not (stopped / "result.json").exists()
    opened = open_scene(stopped, "3dgs")
    assert len(opened.scene) > 100
    views = load_views(opened, None, None)
    assert views is not None
    assert views.holdout == [0, 8, 16, 24]
    assert views.capture.cameras[0].width == 64


def test_a_page_of_a_run_under_way_is_written(stopped: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = CliRunner().invoke(cli, ["view", str(stopped), "--export-html", str(page)])
    assert done.exit_code == 0, done.output
    assert page.stat().st_size > 100_000


def unfinished(directory: Path) -> Unfinished:
    """A run directory as it is while the fit goes on."""
    (directory / "artifacts").mkdir(parents=True)
    (directory / "config.toml").write_text('[input]\ndata = "solids"\n[3dgs]\niterations = 9\n')
    found = Unfinished.of(directory)
    assert found is not None
    assert found.method == "3dgs"
    return found


def test_a_page_of_a_run_that_has_saved_nothing_is_refused(tmp_path: Path) -> None:
    run = unfinished(tmp_path / "run")
    words = ["view", str(run.directory), "--export-html", str(tmp_path / "page.html")]
    done = CliRunner().invoke(cli, words)
    assert isinstance(done.exception, KdstError) or done.exit_code == 2
    assert "has saved no state" in f"{done.output}{done.exception}"
    assert not (tmp_path / "page.html").exists()


def test_newer_states_are_drawn_until_the_run_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = unfinished(tmp_path / "run")
    gaussians(5).save(run.scene)
    watch = Watch(run, load("3dgs"))
    assert watch.newer() is None, "the state that was there at first is on stage already"
    half = gaussians(6).save
    steps = iter(
        [
            lambda: gaussians(7).save(run.scene),
            lambda: None,
            lambda: run.scene.write_bytes(run.scene.read_bytes()[:-40]),
            lambda: run.scene.unlink(),
            lambda: half(run.scene),
            lambda: (
                (run.directory / "result.json").write_text("{}"),
                gaussians(8).save(run.scene),
            ),
        ]
    )
    monkeypatch.setattr(watching.time, "sleep", lambda _: next(steps)())
    drawn: list[int] = []
    said: list[str] = []
    follow(watch, lambda scene: drawn.append(len(scene)), said.append)
    assert drawn == [7, 6, 8], "a file that is not whole, or gone, is passed over"
    assert said == ["The run is finished; its scene is shown."]


def test_a_run_that_saved_nothing_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = unfinished(tmp_path / "run")
    with pytest.raises(KdstError, match="has saved no state yet"):
        open_scene(run.directory, "3dgs")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            gaussians(3).save(run.scene)

    monkeypatch.setattr(watching.time, "sleep", sleep)
    said: list[str] = []
    watching.wait_for_scene(run, said.append)
    assert len(slept) == 3
    assert len(said) == 1
    assert len(open_scene(run.directory, "3dgs").scene) == 3


def test_a_state_that_is_saved_while_the_scene_is_opened_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = unfinished(tmp_path / "run")
    gaussians(5).save(run.scene)
    watches: list[Watch] = []

    def opened_slowly(where: Path, method: str) -> SavedScene:
        found = open_scene(where, method)
        gaussians(6).save(run.scene)
        return found

    monkeypatch.setattr(saved_scene, "open_scene", opened_slowly)
    monkeypatch.setattr(view, "_serve", lambda *given: watches.append(given[3]))
    done = CliRunner().invoke(cli, ["view", str(run.directory), "--port", "0", "--no-open"])
    assert done.exit_code == 0, done.output
    newer = watches[0].newer()
    assert newer is not None
    assert len(newer) == 6


@pytest.mark.parametrize("text", ["[input\n", "\udcff"])
def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(KdstError, match=r"config\.toml cannot be read"):
        open_scene(tmp_path, "3dgs")


def test_a_finished_run_is_not_watched(tmp_path: Path) -> None:
    run = unfinished(tmp_path / "run")
    (run.directory / "result.json").write_text("{}")
    assert Unfinished.of(run.directory) is None
    assert Unfinished.of(tmp_path / "nowhere") is None
    os.remove(run.directory / "config.toml")
    assert Unfinished.of(run.directory) is None
