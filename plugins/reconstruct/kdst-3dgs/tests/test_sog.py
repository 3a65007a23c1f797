"""Gaussians survive .sog up to its rounding, and the reader of the format's authors agrees."""

import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kdst_3dgs import sog, spz
from kdst_3dgs.ply import SplatFileError, read_ply
from kdst_3dgs.reference import rotations
from kdst_3dgs.scene import Scene


def gaussians(coefficients: int = 16, count: int = 700) -> dict[str, torch.Tensor]:
    """Gaussians far and near, with sizes and colours that fill their ranges."""
    generator = torch.Generator().manual_seed(4)
    normal = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return {
        "means": 5 * normal(count, 3) * torch.logspace(-2, 2, count)[:, None],
        "quats": normal(count, 4),
        "scales": -3 + normal(count, 3),
        "opacities": 2 * normal(count),
        "sh": 0.3 * normal(count, coefficients, 3),
    }


def in_order(parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The Gaussians in the order in which a file holds them."""
    order = torch.from_numpy(sog._along_curve(parameters["means"].double().numpy()))
    return {name: p[order] for name, p in parameters.items()}


def near(after: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> None:
    """Assert that two sets are the same up to the rounding of the format."""
    log = [p["means"].sign() * p["means"].abs().log1p() for p in (before, after)]
    step = (log[0].amax(0) - log[0].amin(0)) / 65535
    assert ((log[0] - log[1]).abs() <= 0.51 * step + 1e-5).all()
    assert (rotations(after["quats"]) - rotations(before["quats"])).abs().max() < 0.02
    assert (after["scales"] - before["scales"]).abs().mean() < 0.01
    assert (after["scales"] - before["scales"]).abs().max() < 0.1
    alpha = [torch.sigmoid(p["opacities"]) for p in (before, after)]
    assert (alpha[0] - alpha[1]).abs().max() <= 0.5 / 255 + 1e-3
    assert after["sh"].shape == before["sh"].shape
    assert (after["sh"] - before["sh"]).abs().mean() < 0.01
    assert (after["sh"] - before["sh"]).abs().max() < 0.1


@pytest.mark.parametrize("coefficients", [1, 4, 9, 16])
def test_what_is_read_is_what_was_written_up_to_rounding(coefficients: int) -> None:
    before = gaussians(coefficients)
    after, antialiased = sog.decode(sog.encode(before, True))
    assert antialiased
    near(after, in_order(before))
    assert not sog.decode(sog.encode(before, False))[1]


@pytest.mark.parametrize("count", [1, 2, 16, 17, 65])
def test_any_number_of_gaussians_is_written(count: int) -> None:
    before = gaussians(4, count)
    near(sog.decode(sog.encode(before, False))[0], in_order(before))


def test_the_same_scene_gives_the_same_bytes() -> None:
    assert sog.encode(gaussians(), False) == sog.encode(gaussians(), False)


def test_the_file_is_laid_out_as_the_format_says() -> None:
    """One Gaussian, whose pixels are written out by hand from the format's description."""
    given = {
        "means": torch.tensor([[0.0, 3.0, -1.0], [np.e - 1, 3.0, 1.0]]),
        "quats": torch.tensor([[0.0, -2.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]),
        "scales": torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -1.0, -1.0]]),
        "opacities": torch.tensor([0.0, 20.0]),
        "sh": torch.tensor([[[0.5, 0.0, -0.5]], [[0.5, 0.5, 0.5]]]),
    }
    with zipfile.ZipFile(io.BytesIO(sog.encode(given, False))) as archive:
        meta = json.loads(archive.read("meta.json"))
        pictures = {
            name: np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGBA"))
            for name in archive.namelist()
            if name.endswith(".webp")
        }
    assert {"version", "count", "antialias", "means", "scales", "quats", "sh0"} == set(meta)
    assert (meta["version"], meta["count"], meta["antialias"]) == (2, 2, False)
    assert meta["means"]["mins"] == pytest.approx([0, np.log(4), -np.log(2)])
    assert meta["means"]["maxs"] == pytest.approx([1, np.log(4), np.log(2)])
    first, second = (
        {name.removesuffix(".webp"): p.reshape(-1, 4)[row].tolist() for name, p in pictures.items()}
        for row in (0, 1)
    )
    assert first["means_l"][:3] == [0, 0, 0]
    assert second["means_u"][:3] == [255, 0, 255]
    assert first["quats"] == [128, 128, 128, 253]
    assert second["quats"][3] in (252, 253)
    assert second["quats"][0] == 255
    book = meta["scales"]["codebook"]
    assert len(book) == 256
    assert [book[k] for k in first["scales"][:3]] == [-1, -2, -3]
    colors = meta["sh0"]["codebook"]
    assert [colors[k] for k in first["sh0"][:3]] == [0.5, 0, -0.5]
    assert (first["sh0"][3], second["sh0"][3]) == (128, 255)


def test_more_harmonics_than_the_palette_holds_share_its_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sog, "ROWS", 64)
    rows = np.random.default_rng(0).normal(size=(1000, 9)) * [3, 1, 1, 1, 1, 1, 1, 1, 1]
    palette, label = sog._palette(rows)
    assert len(palette) == 64
    assert label.shape == (1000,)
    apart = ((palette[label] - rows) ** 2).sum()
    assert apart < 0.6 * ((rows - rows.mean(0)) ** 2).sum()
    for number in (0, 17, 63):
        np.testing.assert_allclose(palette[number], rows[label == number].mean(0))


def test_a_scene_is_saved_and_opened(tmp_path: Path) -> None:
    scene = Scene(gaussians(), background=torch.ones(3), antialiased=True)
    said = scene.save(tmp_path / "scene.sog")
    assert said == ["scene.sog cannot hold the background (1, 1, 1): set it in the viewer."]
    opened = Scene.load(tmp_path / "scene.sog")
    assert opened.antialiased
    assert len(opened) == 700
    smaller = (tmp_path / "scene.sog").stat().st_size
    scene.save(tmp_path / "scene.ply")
    assert smaller < (tmp_path / "scene.ply").stat().st_size / 2


def rebuilt(data: bytes, change: Callable[[dict[str, bytes], dict[str, Any]], object]) -> bytes:
    """A .sog with other files or another meta.json."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    meta = json.loads(files.pop("meta.json"))
    change(files, meta)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("meta.json", json.dumps(meta))
        for name, part in files.items():
            archive.writestr(name, part)
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f, m: m.update(version=1), "is of version 1"),
        (lambda f, m: m.pop("version"), "is of version 1"),
        (lambda f, m: m.update(count=10**6), "is truncated"),
        (lambda f, m: m.update(count=-1), "is truncated"),
        (lambda f, m: m["scales"].update(codebook=[0.0]), "codebook of 1 values"),
        (lambda f, m: m["sh0"].update(codebook=[float("nan")] * 256), "not finite"),
        (lambda f, m: f.pop("quats.webp"), "is not a whole"),
        (lambda f, m: f.update({"sh0.webp": b"RIFF"}), "is not a whole"),
        (lambda f, m: m["shN"].update(bands=4), "is not a whole"),
        (lambda f, m: m["shN"].update(bands=2), "is not a whole"),
        (lambda f, m: m.update(means=[]), "is not a whole"),
        (lambda f, m: m["means"].update(files=["../x", "means_u.webp"]), "is not a whole"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    path = tmp_path / "scene.sog"
    path.write_bytes(rebuilt(sog.encode(gaussians(16, 30), False), change))
    with pytest.raises(SplatFileError, match=said):
        Scene.load(path)


@pytest.mark.parametrize("data", [b"", b"ply\n", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_sog_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "scene.sog"
    path.write_bytes(data)
    with pytest.raises(SplatFileError, match=r"scene\.sog is not a whole \.sog file"):
        Scene.load(path)


def read_by_authors(path: Path) -> dict[str, torch.Tensor]:
    """What PlayCanvas's splat-transform reads of a file."""
    program = shutil.which("splat-transform")
    if program is None:
        pytest.skip("no splat-transform on the path: npm install -g @playcanvas/splat-transform")
    copy = path.with_suffix(".read.ply")
    subprocess.run([program, "-q", "-w", str(path), str(copy)], check=True, timeout=300)
    return read_ply(copy)


def test_the_authors_of_sog_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "scene.sog"
    path.write_bytes(sog.encode(gaussians(), False))
    theirs, ours = read_by_authors(path), sog.decode(path.read_bytes())[0]
    for name, values in ours.items():
        torch.testing.assert_close(theirs[name], values, rtol=1e-4, atol=2e-4, msg=name)


def test_another_reader_of_spz_reads_the_same(tmp_path: Path) -> None:
    before = {**gaussians(), "means": torch.randn(700, 3)}
    path = tmp_path / "scene.spz"
    path.write_bytes(spz.encode(before, False))
    theirs, ours = read_by_authors(path), spz.decode(path.read_bytes())[0]
    for name in ("means", "scales", "sh"):
        torch.testing.assert_close(theirs[name], ours[name], rtol=1e-4, atol=1e-4, msg=name)
    assert (rotations(theirs["quats"]) - rotations(ours["quats"])).abs().max() < 1e-3
