"""Gaussians survive .spz up to its rounding, and render as before."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from kdst_3dgs import rasterize, spz
from kdst_3dgs.ply import SplatFileError
from kdst_3dgs.reference import rotations, spherical_harmonics
from kdst_3dgs.scene import Scene


def gaussians(coefficients: int = 16, count: int = 50) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    normal = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    sh = 0.3 * normal(count, coefficients, 3)
    return {
        "means": 5 * normal(count, 3),
        "quats": normal(count, 4),
        "scales": -3 + normal(count, 3),
        "opacities": 2 * normal(count),
        "sh": sh.clamp(-0.99, 0.95),
    }


@pytest.mark.parametrize("coefficients", [1, 4, 9, 16])
def test_what_is_read_is_what_was_written_up_to_rounding(coefficients: int) -> None:
    before = gaussians(coefficients)
    after, antialiased = spz.decode(spz.encode(before, True))
    assert antialiased
    assert (after["means"] - before["means"]).abs().max() <= 0.5 / 4096 + 1e-6
    assert (after["scales"] - before["scales"]).abs().max() <= 1 / 32 + 1e-6
    alpha = [torch.sigmoid(p["opacities"]) for p in (before, after)]
    assert (alpha[0] - alpha[1]).abs().max() <= 0.5 / 255 + 1e-5
    turned = (rotations(after["quats"]) - rotations(before["quats"])).abs()
    assert turned.mean() < 0.01
    assert turned.max() < 0.2  # w is the root of what x, y and z leave: coarse where it is small
    assert (after["sh"][:, :1] - before["sh"][:, :1]).abs().max() < 0.5 / 255 / 0.15 + 1e-5
    higher = (after["sh"][:, 1:] - before["sh"][:, 1:]).abs()
    assert not higher.numel() or higher.max() <= (8 + 0.5) / 128 + 1e-6


def test_the_bytes_are_those_of_the_format() -> None:
    """One Gaussian, whose bytes are written out by hand from the format's description."""
    given = {
        "means": torch.tensor([[1.0, 2.0, -3.0]]),
        "quats": torch.tensor([[0.0, 1.0, 0.0, 0.0]]),
        "scales": torch.tensor([[-10.0, 0.0, -5.0]]),
        "opacities": torch.tensor([0.0]),
        "sh": torch.tensor([[[0.0, 1.0, -1.0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]]),
    }
    raw = gzip.decompress(spz.encode(given, False))
    assert struct.unpack_from("<IIIBBBB", raw) == (0x5053474E, 2, 1, 1, 12, 0, 0)
    body = raw[16:]
    places = [int.from_bytes(body[k : k + 3], "little", signed=True) for k in (0, 3, 6)]
    assert places == [4096, -8192, 12288]
    assert list(body[9:10]) == [128]
    assert list(body[10:13]) == [128, 166, 89]
    assert list(body[13:16]) == [0, 160, 80]
    assert list(body[16:19]) == [255, 128, 128]
    assert list(body[19:28]) == [64, 128, 128, 128, 64, 128, 128, 128, 192]


def test_axes_are_turned_with_all_that_depends_on_them() -> None:
    """Seen by turned cameras, what the file holds in its own axes looks as the scene does."""
    flip = torch.diag(torch.tensor([1.0, -1, -1]))
    before = gaussians(16)
    raw = gzip.decompress(spz.encode(before, False))
    held = torch.tensor(np.frombuffer(raw, np.uint8, 45 * 50, 16 + 19 * 50).astype(np.float32))
    higher = (held.reshape(50, 15, 3) - 128) / 128
    sh = torch.cat([before["sh"][:, :1], higher], 1)
    directions = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    shown = spherical_harmonics(directions @ flip, sh)
    assert (shown - spherical_harmonics(directions, before["sh"])).abs().max() < 0.25
    assert (shown - spherical_harmonics(directions, sh)).abs().max() > 0.5


def test_a_scene_renders_as_before(tmp_path: Path) -> None:
    parameters = gaussians(4)
    parameters["means"] = parameters["means"] / 5
    scene = Scene(parameters, antialiased=True)
    said = scene.save(tmp_path / "scene.spz")
    assert said == []
    opened = Scene.load(tmp_path / "scene.spz")
    assert opened.antialiased
    view, K = torch.eye(4), torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    view[2, 3] = 4
    images = []
    for shown in (scene, opened):
        p = shown.parameters
        values = (p["means"], p["quats"], p["scales"], p["opacities"], p["sh"])
        images.append(rasterize(*values, view, K, 64, 48, threads=1)[0].detach())
    error = (images[0] - images[1]).square().mean()
    assert -10 * float(error.log10()) > 35


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    parameters = gaussians(1)
    parameters["scales"][:3] = -12.0
    parameters["sh"][:2, 0] = 4.0
    said = Scene(parameters, background=torch.ones(3)).save(tmp_path / "scene.spz")
    assert "sizes of 3 Gaussians" in said[0]
    assert "colours of 2 Gaussians" in said[1]
    assert "cannot hold the background" in said[2]


def test_a_scene_in_small_units_keeps_its_positions() -> None:
    before = gaussians(1)
    before["means"], before["scales"] = before["means"] / 5000, before["scales"] - np.log(5000.0)
    after, _ = spz.decode(spz.encode(before, False))
    apart = (after["means"] - before["means"]).abs().max()
    assert apart < before["scales"].exp().amax(1).median() / 8


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (1e6, ["rounded to steps of 0.125, as they reach 1e+06; leave far ones out with --crop"]),
        (1e9, ["positions of 1 Gaussians are cut to ±8,388,607", "rounded to steps of 1, as they"]),
        (100.0, []),
    ],
)
def test_what_one_that_is_far_away_costs_the_others_is_said(
    tmp_path: Path, place: float, said: list[str]
) -> None:
    parameters = gaussians(1)
    parameters["means"][7, 1] = place
    found = Scene(parameters).save(tmp_path / "scene.spz")
    assert len(found) == len(said)
    assert all(part in sentence for part, sentence in zip(said, found, strict=True))


@pytest.mark.filterwarnings("error")
def test_huge_logits_and_quaternions_are_written_without_overflow(tmp_path: Path) -> None:
    parameters = gaussians(1)
    parameters["opacities"][:2] = torch.tensor([-1e30, 1e30])
    parameters["quats"][3] = torch.tensor([2e30, 0, 0, 2e30])
    for name in ("scene.spz", "scene.sog"):
        Scene(dict(parameters)).save(tmp_path / name)
        opened = Scene.load(tmp_path / name).parameters
        row = int((opened["means"] - parameters["means"][3]).norm(dim=1).argmin())
        assert torch.allclose(
            rotations(opened["quats"][row][None]),
            rotations(torch.tensor([[1.0, 0, 0, 1]])),
            atol=0.02,
        )
        assert torch.sigmoid(opened["opacities"]).max() > 0.99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[:-30], "is not a .spz"),
        (lambda d: b"ply", "is not a .spz"),
        (lambda d: gzip.compress(gzip.decompress(d)[:-5]), "truncated"),
        (lambda d: gzip.compress(b"NGSP\3\0\0\0" + gzip.decompress(d)[8:]), "version 3"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(
    tmp_path: Path, change: object, message: str
) -> None:
    path = tmp_path / "scene.spz"
    path.write_bytes(change(spz.encode(gaussians(), False)))  # type: ignore[operator]
    with pytest.raises(SplatFileError, match=message):
        Scene.load(path)
