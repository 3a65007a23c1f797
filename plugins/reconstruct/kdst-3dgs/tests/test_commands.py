"""`kdst view`, `kdst render` and `kdst export` on a run and on a .ply."""

import json
import socket
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import kdst_core
from kdst_3dgs.ply import read_ply
from kdst_3dgs.reconstruction import GaussianScene
from kdst_3dgs.scene import Scene
from kdst_core.cli import cli
from kdst_core.errors import KdstError
from kdst_reconstruct.default import solids
from kdst_reconstruct.viewer import stage

SMALL: dict[str, Any] = {"width": 64, "iterations": 100, "threads": 1, "flight_frames": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A short run with every export."""
    return kdst_core.run(
        "3dgs",
        out=tmp_path_factory.mktemp("runs") / "small",
        export=["splat", "ply", "ply_compressed"],
        crop="-1,-1,-1,1,1,1",
        flight="orbit",
        **{**SMALL, "flight_frames": 3},
    )


def call(*words: object) -> Result:
    """Call the command in this process."""
    return CliRunner().invoke(cli, [str(w) for w in words])


def test_the_scores_of_a_run_are_found_again(run: Any) -> None:
    done = call("render", run.directory, "--path", "holdout")
    assert done.exit_code == 0, done.output
    mean = done.stdout.splitlines()[-1].split()
    assert mean[0] == "mean"
    assert float(mean[1]) == pytest.approx(run.metrics["psnr.holdout"], abs=0.006)
    assert float(mean[2]) == pytest.approx(run.metrics["ssim.holdout"], abs=6e-5)
    assert "LPIPS: no weights" in done.stderr


def test_a_ply_is_scored_on_a_capture(run: Any, tmp_path: Path) -> None:
    file = run.directory / "artifacts" / "scene.ply"
    alone = call("render", file, "--path", "holdout")
    assert isinstance(alone.exception, KdstError)
    assert "give --data DIR" in str(alone.exception)
    words = ["--data", "solids", "--width", 64, "--holdout", "0,8,16,24"]
    out = tmp_path / "views"
    done = call("render", file, "--path", "holdout", *words, "--out", out)
    assert done.exit_code == 0, done.output
    mean = next(line for line in done.stdout.splitlines() if line.startswith("mean"))
    assert float(mean.split()[1]) == pytest.approx(run.metrics["psnr.holdout"], abs=0.006)
    assert sorted(p.name for p in out.iterdir()) == [f"{k:03d}-{k:02d}.png" for k in (0, 8, 16, 24)]


@pytest.mark.parametrize("path", ["orbit", "capture"])
def test_a_path_is_rendered_to_a_video_and_to_pictures(run: Any, tmp_path: Path, path: str) -> None:
    import imageio_ffmpeg

    words = ["render", run.directory, "--path", path, "--frames", 4, "--width", 99]
    assert call(*words, "--out", tmp_path / "f.mp4").exit_code == 0
    frames = imageio_ffmpeg.read_frames(str(tmp_path / "f.mp4"))
    assert next(frames)["size"] == (98, 74)
    assert len(list(frames)) == 4
    assert call(*words, "--out", tmp_path / "f").exit_code == 0
    pictures = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "f").iterdir())]
    assert [p.shape for p in pictures] == [(74, 98, 3)] * 4
    assert min(float(p.std()) for p in pictures) > 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "f.mp4"]


def test_a_bare_ply_is_rendered_from_around_it(run: Any, tmp_path: Path) -> None:
    file = run.directory / "artifacts" / "scene.ply"
    done = call("render", file, "--frames", 2, "--up", "z", "--width", 80, "--out", tmp_path / "o")
    assert done.exit_code == 0, done.output
    first = np.asarray(Image.open(tmp_path / "o" / "0000.png"))
    assert first.shape == (60, 80, 3)
    assert float(first.std()) > 20


def test_a_run_writes_the_exports_it_was_asked_for(run: Any) -> None:
    assert "Rendered from an orbit around what the photographs show." in run.report.read_text()
    names = [n for n in run.data["artifacts"] if n.startswith("scene")]
    cropped = ["scene-cropped.splat", "scene-cropped.ply", "scene-cropped.compressed.ply"]
    assert names == ["scene.ply", *cropped]
    part = read_ply(run.directory / "artifacts" / "scene-cropped.ply")["means"]
    whole = read_ply(run.directory / "artifacts" / "scene.ply")["means"]
    assert 0 < len(part) < len(whole)
    assert bool((part.abs() <= 1).all())


def test_a_crop_without_gaussians_is_a_warning_at_the_end_of_a_run(tmp_path: Path) -> None:
    capture = solids.capture(views=4, width=48, height=36, points=100)
    options: dict[str, Any] = {"iterations": 2, "flight_frames": 0, "holdout": "none"}
    result = kdst_core.run(
        "3dgs",
        data=capture,
        export=["splat"],
        crop="90,90,90,91,91,91",
        out=tmp_path / "r",
        **options,
    )
    assert "scene-cropped.splat was not written: No Gaussian lies inside" in result.warnings[-1]


@pytest.mark.parametrize("name", ["x.ply", "x.splat", "x.compressed.ply"])
def test_an_export_equals_what_the_run_wrote(run: Any, tmp_path: Path, name: str) -> None:
    box = "1,1,1,-1,-1,-1"
    done = call("export", run.directory, "--crop", box, "--out", tmp_path / name)
    assert done.exit_code == 0, done.output
    written = run.directory / "artifacts" / name.replace("x.", "scene-cropped.")
    assert (tmp_path / name).read_bytes() == written.read_bytes()


def test_a_ply_that_is_opened_and_written_again_is_the_same_file(run: Any, tmp_path: Path) -> None:
    file = run.directory / "artifacts" / "scene.ply"
    assert call("export", file, "--out", tmp_path / "again.ply").exit_code == 0
    assert (tmp_path / "again.ply").read_bytes() == file.read_bytes()


def test_the_offline_page_holds_the_scene(run: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = call("view", run.directory, "--export-html", page)
    assert done.exit_code == 0, done.output
    assert done.output.startswith(str(page))
    text = page.read_text()
    assert "__VISER_EMBED_DATA__" in text
    assert "<title>small</title>" in text
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_splats_are_what_the_rasteriser_draws(run: Any) -> None:
    scene = GaussianScene.load(run.directory / "artifacts" / "scene.ply")
    splats, stored = scene.splats(), read_ply(run.directory / "artifacts" / "scene.ply")
    assert torch.equal(splats.means, stored["means"])
    assert torch.linalg.det(splats.covariances.double()).log() == pytest.approx(
        2 * stored["scales"].double().sum(1), abs=1e-2
    )
    assert torch.logit(splats.opacities.double()) == pytest.approx(
        stored["opacities"].double(), abs=1e-3
    )
    assert bool(((splats.colors >= 0) & (splats.colors <= 1)).all())


def test_the_viewer_makes_small_gaussians_of_an_antialiased_scene_fainter() -> None:
    """As faint as the rasteriser draws them from the photographs, seen at their centres."""
    camera = solids.capture(views=3, width=64, height=48, points=10).cameras[1]
    centre = torch.linalg.inv(camera.viewmat.double()) @ torch.tensor([0, 0, 3.0, 1]).double()
    parameters = {
        "means": centre[None, :3].float(),
        "quats": torch.tensor([[1.0, 0, 0, 0]]),
        "scales": torch.full((1, 3), -4.0),
        "opacities": torch.tensor([1.0]),
        "sh": torch.zeros(1, 1, 3),
    }
    alphas = []
    for antialiased in (False, True):
        scene = GaussianScene(Scene(parameters, antialiased=antialiased))
        alphas.append(float(scene.render(camera).alpha.max()))
    assert scene.antialiased
    shown = stage.filtered(scene.splats(), [camera])
    share = float(shown.opacities / scene.splats().opacities)
    assert share < 0.6
    assert share == pytest.approx(alphas[1] / alphas[0], rel=0.02)
    elsewhere = attrs.evolve(camera, viewmat=torch.diag(torch.tensor([1.0, -1, -1, 1])))
    assert torch.equal(
        stage.filtered(scene.splats(), [elsewhere, camera]).opacities, shown.opacities
    )


def test_the_viewer_says_that_a_scene_is_antialiased(run: Any, tmp_path: Path) -> None:
    scene = Scene.load(run.directory / "artifacts" / "scene.ply")
    scene.antialiased = True
    scene.save(tmp_path / "scene.ply")
    words = ("view", tmp_path / "scene.ply", "--export-html", tmp_path / "page.html")
    done = call(*words)
    assert done.exit_code == 0, done.output
    assert "drawn too dense" in done.output
    done = call(*words, "--data", "solids")
    assert "as faint as from the photographs" in done.output


def test_lpips_is_measured_where_weights_are_given(run: Any, tmp_path: Path) -> None:
    from kdst_reconstruct.measures.lpips import ALEX

    generator = torch.Generator().manual_seed(0)
    backbone, heads = {}, {}
    for step in (s for s in ALEX if s.index is not None):
        shape = (step.channels[1], step.channels[0], step.kernel, step.kernel)
        backbone[f"features.{step.index}.weight"] = 0.05 * torch.randn(shape, generator=generator)
        backbone[f"features.{step.index}.bias"] = torch.zeros(shape[0])
        heads[f"lin{len(heads)}.model.1.weight"] = torch.rand(1, shape[0], 1, 1)
    torch.save(backbone, tmp_path / "alexnet.pth")
    torch.save(heads, tmp_path / "alex.pth")
    options: dict[str, Any] = {**SMALL, "iterations": 20, "lpips": str(tmp_path)}
    result = kdst_core.run("3dgs", out=tmp_path / "r", **options)
    views = json.loads((tmp_path / "r" / "artifacts" / "trace.json").read_text())["views"]
    mean = sum(v["lpips"] for v in views) / len(views)
    assert result.metrics["lpips.holdout"] == pytest.approx(mean)
    assert mean > 0
    assert result.data["input"]["lpips_net"] == "alex"
    assert f"LPIPS {mean:.3f} (alex)" in result.report.read_text()
    done = call("render", tmp_path / "r", "--path", "holdout", "--lpips", tmp_path)
    assert float(done.stdout.splitlines()[-1].split()[3]) == pytest.approx(mean, abs=1e-4)
    assert "not measured: no weights" in run.data["input"]["lpips_net"]


def broken_ply(folder: Path, run: Any) -> Path:
    """A .ply that lacks a field."""
    data = (run.directory / "artifacts" / "scene.ply").read_bytes()
    (folder / "broken.ply").write_bytes(
        data.replace(b"property float opacity", b"property float opaqueness")
    )
    return folder / "broken.ply"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["view", "{here}/nowhere"], "nowhere: no such run or .ply"),
        (["view", "{here}"], "holds no run"),
        (["view", "{broken}"], "lacks opacity"),
        (["export", "{run}"], "give --out FILE, or --format"),
        (["export", "{run}", "--out", "{here}/a.obj"], "must end in .ply or .splat"),
        (["export", "{run}", "--out", "{here}/a.ply", "--format", "splat"], "must end in .splat"),
        (["export", "{run}", "--out", "{here}/a.ply", "--crop", "1,2"], "give six numbers"),
        (["export", "{run}", "--out", "{here}/a.ply", "--crop", "0,0,0,1,0,1"], "no volume"),
        (["export", "{run}", "--out", "{here}/no/a.ply"], "there is no folder"),
        (["export", "{run}", "--out", "{run}/artifacts/scene.ply"], "is the scene itself"),
        (["render", "{run}"], "give --out FILE.mp4 or --out FOLDER"),
        (["render", "{run}", "--out", "{run}"], "exists; give a name that ends in .mp4"),
        (
            ["render", "{run}", "--out", "{here}/a.mp4", "--path", "holdout", "--holdout", "none"],
            "no view is held out",
        ),
        (["render", "{run}", "--path", "holdout", "--lpips", "{here}/no"], "no such folder"),
        (
            ["render", "{run}/artifacts/scene.ply", "--path", "capture", "--out", "{here}/a.mp4"],
            "give --data DIR, or --path orbit",
        ),
    ],
)
def test_bad_input_is_one_or_two_lines_and_leaves_nothing(
    run: Any, tmp_path: Path, words: list[str], message: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    broken = broken_ply(tmp_path, run)
    done = call(*(w.format(here=here, run=run.directory, broken=broken) for w in words))
    told = str(done.exception) if isinstance(done.exception, KdstError) else done.output
    assert done.exit_code != 0
    assert message in told
    assert len(told.splitlines()) <= 4
    assert not list(here.iterdir())


def test_a_port_in_use_is_said(run: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = call("view", run.directory, "--no-open", "--port", port)
    assert isinstance(done.exception, KdstError)
    assert f"cannot listen on 127.0.0.1:{port}" in str(done.exception)
    assert "--port" in str(done.exception)


def test_a_scene_without_its_capture_is_shown_without_photographs(run: Any, tmp_path: Path) -> None:
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(run.directory, moved)
    result = json.loads((moved / "result.json").read_text())
    result["input"]["data"] = str(tmp_path / "gone")
    (moved / "result.json").write_text(json.dumps(result))
    done = call("view", moved, "--export-html", tmp_path / "p.html")
    assert done.exit_code == 0, done.output
    assert "Shown without photographs" in done.stderr
