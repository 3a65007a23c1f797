"""Scene files as others read them: trimesh's reader, and decoders written from the formats' layouts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from plyfile import PlyData

import kdst_core
from kdst_3dgs.ply import SplatFileError, read_ply
from kdst_3dgs.reconstruction import GaussianScene
from kdst_3dgs.reference import rasterize_reference
from kdst_reconstruct.default import solids

C0 = 0.28209479177387814


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .ply of a short run with all degrees of harmonics."""
    run = kdst_core.run(
        "3dgs",
        out=tmp_path_factory.mktemp("runs") / "r",
        width=64,
        iterations=150,
        sh_degree_interval=20,
        refine_start_iter=500,
        threads=1,
        flight_frames=0,
    )
    return run.directory / "artifacts" / "scene.ply"


def fields(path: Path) -> Any:
    """The vertices as trimesh reads them: every property of the file by name."""
    with path.open("rb") as file:
        return trimesh.exchange.ply.load_ply(file)["metadata"]["_ply_raw"]["vertex"]["data"]


def tables(data: bytes) -> dict[str, Any]:
    """Every element of a binary .ply as a table."""
    header, _, body = data.partition(b"end_header\n")
    kinds: dict[str, list[tuple[str, str]]] = {}
    counts: dict[str, int] = {}
    for words in (line.split() for line in header.decode().splitlines()):
        if words[0] == "element":
            kinds[words[1]], counts[words[1]] = [], int(words[2])
        elif words[0] == "property":
            kind = {"float": "<f4", "uint": "<u4", "uchar": "u1"}[words[1]]
            kinds[list(kinds)[-1]].append((words[2], kind))
    found, start = {}, 0
    for name, count in counts.items():
        found[name] = np.frombuffer(body, np.dtype(kinds[name]), count, start)
        start += found[name].nbytes
    return found


def columns(table: Any, *names: str) -> np.ndarray[Any, Any]:
    """Columns of a table of vertices as float64 (N, len(names))."""
    return np.stack([np.asarray(table[n], np.float64).ravel() for n in names], 1)


def test_another_reader_and_another_rasteriser_give_the_same_image(scene: Path) -> None:
    table = fields(scene)
    rest = columns(table, *(f"f_rest_{i}" for i in range(45))).reshape(-1, 3, 15)
    sh = np.concatenate([columns(table, "f_dc_0", "f_dc_1", "f_dc_2")[:, :, None], rest], 2)
    parameters = (
        columns(table, "x", "y", "z"),
        columns(table, *(f"rot_{i}" for i in range(4))),
        columns(table, *(f"scale_{i}" for i in range(3))),
        columns(table, "opacity")[:, 0],
        sh.transpose(0, 2, 1),
    )
    camera = solids.capture(width=64, height=48).cameras[5]
    ours = GaussianScene.load(scene).render(camera).rgb
    theirs, _, _ = rasterize_reference(
        *(torch.from_numpy(p.copy()) for p in parameters),
        camera.viewmat.double(),
        camera.K.double(),
        64,
        48,
        torch.ones(3, dtype=torch.float64),
    )
    assert float(ours.std()) > 0.1
    assert float(abs(rest).max()) > 0.01
    assert float((ours - theirs.clamp(0, 1)).abs().max()) < 1e-3


def test_splat_files_hold_what_the_ply_holds(scene: Path, tmp_path: Path) -> None:
    GaussianScene.load(scene).save(tmp_path / "s.splat")
    kinds = [("xyz", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rot", "u1", 4)]
    found = np.frombuffer((tmp_path / "s.splat").read_bytes(), np.dtype(kinds))
    table = fields(scene)
    means = columns(table, "x", "y", "z")
    assert len(found) == len(means)
    order, wanted = np.lexsort(found["xyz"].T), np.lexsort(means.T)
    assert np.array_equal(found["xyz"][order], means[wanted].astype(np.float32))
    scales = np.exp(columns(table, *(f"scale_{i}" for i in range(3))))
    np.testing.assert_allclose(found["scale"][order], scales[wanted], rtol=1e-5)
    rgb = np.clip(0.5 + C0 * columns(table, "f_dc_0", "f_dc_1", "f_dc_2"), 0, 1)
    assert np.abs(found["rgba"][order, :3] / 255.0 - rgb[wanted]).max() < 1.01 / 255
    opacity = 1 / (1 + np.exp(-columns(table, "opacity")))[:, 0]
    assert np.abs(found["rgba"][order, 3] / 255.0 - opacity[wanted]).max() < 1.01 / 255
    turned = columns(table, *(f"rot_{i}" for i in range(4)))
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    kept = (found["rot"][order] - 128.0) / 128
    assert np.abs((kept * turned[wanted]).sum(1)).min() > 0.97


def test_compressed_files_hold_the_positions_of_the_ply(scene: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.compressed.ply"
    GaussianScene.load(scene).save(path)
    elements = tables(path.read_bytes())
    chunks, packed = elements["chunk"], elements["vertex"]
    bits = np.asarray(packed["packed_position"]).ravel().astype(np.uint64)
    chunk = np.arange(len(bits)) // 256
    found = np.empty((len(bits), 3))
    for column, (name, shift, width) in enumerate([("x", 21, 11), ("y", 11, 10), ("z", 0, 11)]):
        steps = float(2**width - 1)
        share = ((bits >> np.uint64(shift)) & np.uint64(2**width - 1)) / steps
        low, high = (np.asarray(chunks[f"{end}_{name}"]).ravel()[chunk] for end in ("min", "max"))
        found[:, column] = low + share * (high - low)
    means = columns(fields(scene), "x", "y", "z")
    from scipy.spatial import cKDTree

    assert len(found) == len(means)
    apart, _ = cKDTree(means).query(found)
    assert apart.max() < 5e-3


def written_as(path: Path, form: str, newline: str) -> Path:
    """A copy of a binary .ply in another form."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    names = [line.split()[2] for line in head.decode().splitlines() if line.startswith("property")]
    values = np.frombuffer(body, "<f4").reshape(-1, len(names))
    lines = head.decode().replace("binary_little_endian", form).splitlines()
    if form == "ascii":
        text = newline.join(" ".join(f"{v:.9g}" for v in row) for row in values) + newline
        body = text.encode()
    elif form == "binary_big_endian":
        body = values.astype(">f4").tobytes()
    copy = path.with_name(f"{form}.ply")
    copy.write_bytes(newline.join([*lines, "end_header", ""]).encode() + body)
    return copy


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("form", ["binary_little_endian", "binary_big_endian", "ascii"])
def test_every_form_of_ply_is_read(scene: Path, tmp_path: Path, form: str, newline: str) -> None:
    plain = tmp_path / "plain.ply"
    plain.write_bytes(scene.read_bytes())
    one, other = GaussianScene.load(plain), GaussianScene.load(written_as(plain, form, newline))
    for name, values in one.scene.parameters.items():
        assert torch.equal(values, other.scene.parameters[name]), name
    assert torch.equal(one.scene.background, other.scene.background)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"element vertex", b"comment before end_header comes this\nelement vertex"),
        (b"element vertex", b"element camera 2\nproperty double q\nelement vertex"),
        (b"ply\n", b"\xef\xbb\xbfply\n"),
        (b"end_header\n", b"end_header  \n"),
    ],
    ids=["comment", "element-before", "byte-order-mark", "trailing-space"],
)
def test_odd_headers_are_read(scene: Path, tmp_path: Path, old: bytes, new: bytes) -> None:
    head, mark, body = scene.read_bytes().partition(b"end_header\n")
    between = bytes(16) if b"camera" in new else b""
    (tmp_path / "odd.ply").write_bytes((head + mark).replace(old, new, 1) + between + body)
    plain, odd = read_ply(scene), read_ply(tmp_path / "odd.ply")
    assert all(torch.equal(plain[name], odd[name]) for name in plain)


def test_headers_of_one_carriage_return_and_texts_with_empty_lines_are_read(
    scene: Path, tmp_path: Path
) -> None:
    head, mark, body = scene.read_bytes().partition(b"end_header\n")
    (tmp_path / "mac.ply").write_bytes((head + mark).replace(b"\n", b"\r") + body)
    table = PlyData.read(scene)["vertex"].data
    rows = "\n\n".join(" ".join(f"{v:.9g}" for v in row) for row in table)
    text = (head + mark).replace(b"binary_little_endian", b"ascii")
    text = text.replace(b"element vertex", b"element note 1\nproperty int n\nelement vertex")
    (tmp_path / "text.ply").write_bytes(text + b"\n7\n\n" + rows.encode())
    plain = read_ply(scene)
    for name in ("mac.ply", "text.ply"):
        other = read_ply(tmp_path / name)
        assert all(torch.allclose(plain[key], other[key], atol=1e-6) for key in plain)


def test_what_is_drawn_is_exported_with_finite_numbers(scene: Path, tmp_path: Path) -> None:
    opened = GaussianScene.load(scene)
    parameters = opened.scene.parameters
    parameters["opacities"][:5] = torch.inf
    parameters["scales"][5:8, 2] = -torch.inf
    parameters["means"][9] = torch.nan
    said = opened.save(tmp_path / "copy.ply")
    table = fields(tmp_path / "copy.ply")
    assert len(table["x"]) == len(opened) - 1
    assert np.isfinite(columns(table, "opacity", "scale_2")).all()
    assert columns(table, "opacity")[:5].min() > 10
    assert len(said) == 1
    assert "1 Gaussians with values that are not finite" in said[0]


def test_gaussians_that_are_not_finite_are_left_out_and_counted(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = PlyData.read(scene)
    for row, (name, value) in enumerate([("y", np.nan), ("scale_1", np.inf), ("f_dc_2", -np.inf)]):
        table["vertex"][name][row] = value
    table["vertex"]["opacity"][5] = np.inf
    table.write(tmp_path / "odd.ply")
    plain, odd = read_ply(scene), read_ply(tmp_path / "odd.ply")
    count = len(plain["means"])
    assert capsys.readouterr().err == (
        f"odd.ply: 3 of {count} Gaussians have values that are not finite and are left out.\n"
    )
    assert torch.equal(odd["means"], plain["means"][3:])
    assert all(values.isfinite().all() for values in odd.values())


def test_a_file_without_gaussians_and_one_with_a_gap_are_told_apart(
    scene: Path, tmp_path: Path
) -> None:
    head, mark, body = scene.read_bytes().partition(b"end_header\n")
    count = len(read_ply(scene)["means"])
    none = head.replace(f"vertex {count}".encode(), b"vertex 0")
    (tmp_path / "none.ply").write_bytes(none + mark)
    assert read_ply(tmp_path / "none.ply")["sh"].shape == (0, 16, 3)
    (tmp_path / "gap.ply").write_bytes(head.replace(b"f_rest_7\n", b"f_rest_77\n") + mark + body)
    with pytest.raises(SplatFileError, match=r"gap\.ply lacks f_rest_7, though it has 45"):
        read_ply(tmp_path / "gap.ply")


def test_compact_files_say_that_they_cannot_hold_the_antialiasing(
    scene: Path, tmp_path: Path
) -> None:
    opened = GaussianScene.load(scene)
    opened.scene.background = torch.zeros(3)
    assert opened.save(tmp_path / "a.splat") == []
    opened.scene.antialiased = True
    assert opened.save(tmp_path / "a.ply") == []
    for name in ("a.splat", "a.compressed.ply"):
        (sentence,) = opened.save(tmp_path / name)
        assert "antialiasing" in sentence
