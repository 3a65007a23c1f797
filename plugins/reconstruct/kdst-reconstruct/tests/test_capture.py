"""Captures: the embedded solids, COLMAP folders, and what is wrong with broken ones."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import attrs
import numpy as np
import pycolmap
import pytest
import torch
from PIL import Image

from kdst_core.bench import sealed
from kdst_core.contracts import Capture
from kdst_core.errors import KdstError
from kdst_core.progress import progress
from kdst_reconstruct.captures import source as captures
from kdst_reconstruct.default import solids
from kdst_reconstruct.holdout import choice as holdout
from kdst_reconstruct.holdout.views import Parts, judging_files
from kdst_reconstruct.inputs import ReconstructInputs


def write_capture(root: Path, capture: Capture, camera: pycolmap.Camera | None = None) -> Path:
    """Write a capture as a COLMAP folder; `camera` replaces its pinhole camera."""
    (root / "images").mkdir(parents=True)
    (root / "sparse" / "0").mkdir(parents=True)
    first = capture.cameras[0]
    K = first.K
    if camera is None:
        params = [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]
        camera = pycolmap.Camera(
            model="PINHOLE", width=first.width, height=first.height, params=params
        )
    camera.camera_id = 1
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(camera)
    for number, (name, image) in enumerate(zip(capture.names, capture.images, strict=True), 1):
        Image.fromarray((image * 255).round().byte().numpy()).save(root / "images" / name)
        pose = capture.cameras[number - 1].viewmat[:3].double().numpy()
        view = pycolmap.Image(name=name, camera_id=1, image_id=number)
        model.add_image_with_trivial_frame(view, pycolmap.Rigid3d(pose))
    for point, color in zip(capture.points, capture.colors, strict=True):
        rgb = (color * 255).round().byte().numpy()
        model.add_point3D(point.double().numpy(), pycolmap.Track(), rgb)
    model.write(root / "sparse" / "0")
    return root


@pytest.fixture(scope="module")
def capture() -> Capture:
    return solids.capture(views=4, width=48, height=36, points=40)


@pytest.fixture
def folder(tmp_path: Path, capture: Capture) -> Path:
    return write_capture(tmp_path / "capture", capture)


def silent(total: int, label: str) -> Any:
    return progress(total, label, "quiet")


def load(root: Path, **options: Any) -> Capture:
    return captures.load(ReconstructInputs(data=str(root), **options), silent).capture


def test_solids_points_lie_on_what_the_photographs_show(capture: Capture) -> None:
    image, camera = capture.images[0], capture.cameras[0]
    homogeneous = torch.cat([capture.points, torch.ones(len(capture.points), 1)], 1)
    seen = homogeneous @ camera.viewmat.T
    x, y = ((seen[:, :2] / seen[:, 2:3]) @ camera.K[:2, :2].T + camera.K[:2, 2]).T.long()
    shown = image[y, x]
    close = (shown - capture.colors).abs().mean(1) < 0.15
    assert close.float().mean() > 0.5  # the others are hidden in this view
    assert (seen[:, 2] > 0).all()


def test_solids_are_the_same_every_time() -> None:
    one, other = (solids.capture(views=2, width=24, height=18, points=10) for _ in range(2))
    assert torch.equal(one.images[1], other.images[1])
    assert torch.equal(one.points, other.points)


@pytest.mark.parametrize("kind", ["bin", "txt"])
def test_colmap_folder_gives_back_the_capture(folder: Path, capture: Capture, kind: str) -> None:
    model = folder / "sparse" / "0"
    if kind == "txt":
        pycolmap.Reconstruction(model).write_text(model)
        for file in model.glob("*.bin"):
            file.unlink()
    found = load(folder)
    assert found.names == capture.names
    for a, b in zip(found.cameras, capture.cameras, strict=True):
        torch.testing.assert_close(a.K, b.K)
        torch.testing.assert_close(a.viewmat, b.viewmat, rtol=1e-5, atol=1e-5)
    assert (found.images[2] - capture.images[2]).abs().max() <= 0.5 / 255 + 1e-6
    order = [a[torch.argsort(a[:, 0])] for a in (found.points, capture.points)]
    torch.testing.assert_close(order[0], order[1], rtol=1e-5, atol=1e-5)


def test_width_scales_intrinsics_with_the_photographs(folder: Path, capture: Capture) -> None:
    found = load(folder, width=24)
    assert found.images[0].shape == (18, 24, 3)
    torch.testing.assert_close(found.cameras[0].K[:2], capture.cameras[0].K[:2] / 2)


def test_distorted_camera_becomes_a_pinhole(tmp_path: Path, capture: Capture) -> None:
    camera = pycolmap.Camera(
        model="SIMPLE_RADIAL", width=48, height=36, params=[43.0, 24.0, 18.0, 0.1]
    )
    found = load(write_capture(tmp_path / "c", capture, camera))
    straight = load(write_capture(tmp_path / "d", capture))
    assert found.images[0].shape[:2] == (found.cameras[0].height, found.cameras[0].width)
    assert found.cameras[0].K[0, 1] == 0
    assert found.images[0].shape != straight.images[0].shape or not torch.equal(
        found.images[0], straight.images[0]
    )


def test_masks_count_where_they_are_white(folder: Path) -> None:
    mask = np.zeros((36, 48), np.uint8)
    mask[:, :20] = 255
    (folder / "masks").mkdir()
    Image.fromarray(mask).save(folder / "masks" / "00.png")
    found = load(folder)
    assert found.masks is not None
    assert found.masks[0] is not None
    assert int(found.masks[0].sum()) == 36 * 20
    assert found.masks[1] is None


def test_exif_gives_the_exposure(folder: Path) -> None:
    path = folder / "images" / "00.png"
    photograph = Image.open(path)
    photograph.load()
    exif = photograph.getexif()
    exif[0x8769] = {0x829A: 0.01, 0x8827: 200, 0x829D: 4.0}
    photograph.save(path, exif=exif)
    found = load(folder)
    assert found.cameras[0].exposure == pytest.approx(0.01 * 200 / 16)
    assert found.cameras[1].exposure is None
    assert load(folder, exif=False).cameras[0].exposure is None


def truncate_points(root: Path) -> None:
    path = root / "sparse" / "0" / "points3D.bin"
    path.write_bytes(path.read_bytes()[:-20])


def truncate_images(root: Path) -> None:
    path = root / "sparse" / "0" / "images.bin"
    path.write_bytes(path.read_bytes()[:60])


def remove_views(root: Path) -> None:
    (root / "sparse" / "0" / "images.bin").unlink()


def remove_images(root: Path) -> None:
    shutil.rmtree(root / "images")


def remove_photographs(root: Path) -> None:
    for file in (root / "images").iterdir():
        file.unlink()


def empty_photographs(root: Path) -> None:
    for file in list((root / "images").iterdir())[1:]:
        file.write_bytes(b"")


def other_shape(root: Path) -> None:
    Image.new("RGB", (40, 40)).save(root / "images" / "01.png")


def other_mask(root: Path) -> None:
    (root / "masks").mkdir()
    Image.new("L", (10, 10)).save(root / "masks" / "01.png")


def nan_pose(root: Path) -> None:
    folder = root / "sparse" / "0"
    model = pycolmap.Reconstruction(folder)
    pose = pycolmap.Rigid3d(pycolmap.Rotation3d(), np.array([0.0, np.nan, 1.0]))
    model.frames[1].rig_from_world = pose
    model.write(folder)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (truncate_points, "truncated"),
        (truncate_images, "cannot be read as a COLMAP model"),
        (remove_views, "lacks images.bin"),
        (remove_images, "no images/ folder"),
        (remove_photographs, "photographs that have a camera are missing"),
        (empty_photographs, "cannot be read as an image"),
        (other_shape, "another shape"),
        (other_mask, "they must agree"),
        (nan_pose, "not finite"),
    ],
)
def test_broken_capture_is_two_lines_at_most(
    folder: Path, harm: Callable[[Path], None], message: str
) -> None:
    harm(folder)
    with pytest.raises(KdstError, match=message) as error:
        load(folder)
    assert len(str(error.value).splitlines()) <= 2


def test_one_photograph_that_is_cut_off_does_not_end_a_run(folder: Path) -> None:
    path = folder / "images" / "01.png"
    path.write_bytes(path.read_bytes()[:-200])
    source = captures.load(ReconstructInputs(data=str(folder)), silent)
    assert source.capture.names == ["00.png", "02.png", "03.png"]
    assert len(source.capture.images) == len(source.capture.tracks or ()) == 3
    assert source.said == (
        "1 of 4 photographs that have a camera are skipped, cannot be read as an image: 01.png."
        " Replace or remove such files.",
    )


@pytest.mark.parametrize("kind", ["bin", "txt"])
def test_colmap_folder_without_points_is_a_capture_without_points(folder: Path, kind: str) -> None:
    model = folder / "sparse" / "0"
    if kind == "txt":
        pycolmap.Reconstruction(model).write_text(model)
        for file in model.glob("*.bin"):
            file.unlink()
    (model / f"points3D.{kind}").unlink()
    found = load(folder)
    assert len(found.images) == 4
    assert len(found.points) == len(found.colors) == 0


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KdstError, match="no such folder"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "count", "chosen"),
    [
        ("auto", 32, [0, 8, 16, 24]),
        ("auto", 11, [2, 8]),
        ("none", 2, []),
        ("5", 11, [5]),
        ("7,3", 11, [3, 7]),
        (".25", 8, [2, 6]),
    ],
)
def test_held_out_views(text: str, count: int, chosen: list[int]) -> None:
    assert holdout.choose(text, count) == chosen


def test_views_kept_for_testing_are_held_out_and_never_trained_on() -> None:
    assert holdout.choose("auto", 10, test=[8, 9]) == [8, 9]
    assert holdout.choose("9", 10, test=[8, 9]) == [9]
    with pytest.raises(KdstError, match="at least 2 must remain"):
        holdout.choose("8", 10, test=range(1, 10))


@pytest.mark.parametrize(
    ("text", "count", "message"),
    [
        ("auto", 1, "at least 2"),
        ("auto", 2, "at least 2"),
        ("11", 11, "0 to 10"),
        ("-1", 11, "0 to 10"),
        ("1.5", 11, "below 1"),
        ("last", 11, "not understood"),
    ],
)
def test_impossible_holdout_is_refused(text: str, count: int, message: str) -> None:
    with pytest.raises(KdstError, match=message):
        holdout.choose(text, count)


def test_held_out_photographs_are_out_of_reach_while_a_method_works() -> None:
    capture = solids.capture(views=4, width=16, height=12, points=10)
    mask = torch.zeros(12, 16, dtype=torch.bool)
    capture = attrs.evolve(capture, masks=[None, mask, None, None])
    parts = Parts.of(capture, [1], [3])
    assert [len(parts.training.images), len(parts.heldout), parts.masks] == [2, 1, 1]
    assert not parts.outline.images
    with sealed.closed():
        for read in (parts.heldout.photograph, parts.heldout.mask):
            with pytest.raises(RuntimeError, match="judged by"):
                read(0)
        with pytest.raises(RuntimeError, match="embedded capture"):
            solids.capture(views=4, width=16, height=12, points=10)
    assert torch.equal(parts.heldout.photograph(0), capture.images[1])
    assert torch.equal(cast(Any, parts.heldout.mask(0)), mask)


def test_files_of_held_out_views_are_known_in_any_size(tmp_path: Path) -> None:
    for name in ("images/a.jpg", "images/b.jpg", "images_4/a.png", "masks/a.jpg.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = judging_files(str(tmp_path), ["a.jpg"])
    names = sorted(p.relative_to(tmp_path).as_posix() for p in found)
    assert names == ["images/a.jpg", "images_4/a.png", "masks/a.jpg.png"]
