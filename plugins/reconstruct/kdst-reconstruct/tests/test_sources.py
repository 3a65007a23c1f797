"""Captures without a COLMAP model: raw photographs, videos, transforms.json."""

import json
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from kdst_core.errors import KdstError
from kdst_core.progress import progress
from kdst_reconstruct.captures import sfm, video
from kdst_reconstruct.captures import source as captures
from kdst_reconstruct.default import solids
from kdst_reconstruct.inputs import ReconstructInputs

WIDTH, HEIGHT, FOCAL = 240, 180, 216.0
GPS = {1: "N", 2: (48.0, 51.0, 29.9), 3: "E", 4: (2.0, 17.0, 40.2)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, one of its own for every test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kdst" / "sfm"


def silent(total: int, label: str) -> Any:
    return progress(total, label, "quiet")


def load(path: Path, **options: Any) -> captures.Source:
    return captures.load(ReconstructInputs(data=str(path), **options), silent)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Six photographs along an arc of the solids under a texture that repeats nowhere."""
    rng = np.random.default_rng(0)
    waves = rng.normal(size=(60, 3)) * np.geomspace(3, 45, 60)[:, None]
    phases, strengths = rng.uniform(0, 2 * np.pi, 60), 0.11 / np.geomspace(1, 4, 60)

    def texture(position: Any) -> Any:
        return np.clip(0.5 + np.sin(position @ waves.T + phases) @ strengths, 0, 1)

    K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solids, "_texture", texture)
        shots = [solids._photograph(K, pose(k), WIDTH, HEIGHT, samples=2) for k in range(6)]
    return [Image.fromarray((255 * shot).round().astype(np.uint8)) for shot in shots]


def pose(number: int) -> Any:
    """World to camera (4, 4) of a photograph."""
    return solids._pose(0.1 * number)


@pytest.fixture
def folder(tmp_path: Path, pictures: list[Image.Image]) -> Path:
    root = tmp_path / "photographs"
    root.mkdir()
    for number, picture in enumerate(pictures):
        picture.save(root / f"{number}.png")
    return root


def centres(capture: Any) -> Any:
    poses = torch.stack([camera.viewmat for camera in capture.cameras]).double().numpy()
    return -(poses[:, :3, :3].transpose(0, 2, 1) @ poses[:, :3, 3:])[..., 0]


def test_photographs_without_cameras_are_placed_up_to_a_similarity(folder: Path) -> None:
    source = load(folder)
    assert source.placement is not None
    assert (source.placement.registered, source.placement.images) == (6, 6)
    assert source.placement.warnings() == []
    assert len(source.capture.points) > 100
    poses = np.stack([pose(k) for k in range(6)])
    true = -(poses[:, :3, :3].transpose(0, 2, 1) @ poses[:, :3, 3:])[..., 0]
    found = centres(source.capture)
    steps = [np.linalg.norm(np.diff(path, axis=0), axis=1) for path in (true, found)]
    np.testing.assert_allclose(steps[1] / steps[1].mean(), steps[0] / steps[0].mean(), rtol=0.05)


def test_placing_is_kept_in_the_cache_until_the_photographs_change(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(p.name for p in folder.iterdir())
    first = load(folder)
    with monkeypatch.context() as patch:
        patch.setattr(sfm, "_reconstruct", lambda *_: pytest.fail("placed again"))
        again = load(folder)
    assert torch.equal(first.capture.cameras[3].viewmat, again.capture.cameras[3].viewmat)
    assert sorted(p.name for p in folder.iterdir()) == before
    (kept,) = cache.iterdir()
    assert kept.name.startswith("sfm-")
    (folder / "5.png").unlink()
    assert load(folder).placement.images == 5  # type: ignore[union-attr]


def test_the_user_chooses_where_placing_is_kept(folder: Path, cache: Path, tmp_path: Path) -> None:
    assert load(folder, sfm=str(tmp_path / "mine")).placement is not None
    assert [p.name[:4] for p in (tmp_path / "mine").iterdir()] == ["sfm-"]
    assert not cache.exists()


def test_placing_that_was_stopped_leaves_nothing_that_counts_and_goes_on(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sfm, "_map", stop)
        with pytest.raises(KeyboardInterrupt):
            load(folder)
    assert not list(cache.glob("sfm-*"))
    import pycolmap

    extracted = []
    kept = pycolmap.extract_features
    monkeypatch.setattr(
        pycolmap, "extract_features", lambda *a, **k: extracted.append(a) or kept(*a, **k)
    )
    assert load(folder).placement.registered == 6  # type: ignore[union-attr]
    assert not extracted
    assert not list(cache.glob(".sfm-*"))


def stored_sideways(folder: Path, numbers: range) -> None:
    """Store photographs as a phone held upright does: turned, with how to turn them back."""
    for number in numbers:
        path = folder / f"{number}.png"
        with Image.open(path) as picture:
            exif = picture.getexif()
            exif[0x0112] = 6
            exif.get_ifd(0x8825).update(GPS)
            turned = picture.transpose(Image.Transpose.ROTATE_90)
        turned.save(folder / f"#a {number}.jpg", exif=exif, quality=95)
        path.unlink()


def test_photographs_are_turned_upright_under_any_name_and_no_place_is_written(
    folder: Path, cache: Path
) -> None:
    straight = load(folder).capture
    stored_sideways(folder, range(6))
    source = load(folder)
    assert source.placement is not None
    assert source.placement.registered == 6
    assert source.capture.names == [f"#a {k}.jpg" for k in range(6)]
    for camera, image, other in zip(
        source.capture.cameras, source.capture.images, straight.images, strict=True
    ):
        assert camera.width > camera.height
        common = [slice(0, min(a, b)) for a, b in zip(image.shape, other.shape, strict=True)]
        apart = (image[tuple(common)] - other[tuple(common)]).abs().mean()
        assert apart < 0.5 * (image[tuple(common)].flip(0) - other[tuple(common)]).abs().mean()
    import pycolmap

    for file in cache.glob("sfm-*/**/*"):
        assert file.suffix not in (".db", ".jpg")
        assert not file.is_file() or b"GPS" not in file.read_bytes()
    model = pycolmap.Reconstruction(source.placement.model)
    assert model.num_reg_images() == 6


def test_photographs_to_be_seen_mirrored_are_mirrored_with_their_masks(folder: Path) -> None:
    """Their sensor or program stored them mirrored and says so; the others show the same scene."""
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:, : WIDTH // 4] = 0
    (folder / "masks").mkdir()
    for number, tag in ((1, 2), (3, 5), (4, 7)):
        with Image.open(folder / f"{number}.png") as picture:
            seen = picture.convert("RGB")
        exif = Image.Exif()
        exif[0x0112] = tag
        method = {2: "FLIP_LEFT_RIGHT", 5: "TRANSPOSE", 7: "TRANSVERSE"}[tag]
        store = Image.Transpose[method]
        seen.transpose(store).save(folder / f"{number}.png", exif=exif)
        Image.fromarray(mask).transpose(store).save(folder / "masks" / f"{number}.png")
    source = load(folder)
    assert source.placement.registered == 6  # type: ignore[union-attr]
    masks = source.capture.masks
    assert masks is not None
    for number in (1, 3, 4):
        found = masks[number]
        assert found is not None
        assert found.shape[1] > found.shape[0]
        assert not found[:, : WIDTH // 8].any()
        assert found[:, WIDTH // 2 :].float().mean() > 0.95


def test_masks_of_no_photograph_and_photographs_beside_the_others_are_named(folder: Path) -> None:
    for name in ("masks/9.png", "masks/1.jpg", "more/1.png", "images_2/1.png", ".old/1.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("L", (WIDTH, HEIGHT), 255).save(folder / name)
    (folder / "again").symlink_to(folder)
    assert load(folder).said == (
        f"1 photograph is left out, since those in {folder} are used: more/1.png.",
        f"2 of 2 files in {folder / 'masks'} are the mask of no photograph: 1.jpg, 9.png. NAME.png is"
        " looked for.",
    )


def test_too_little_room_is_said_before_colmap_writes(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its database would end the whole process."""
    monkeypatch.setattr(sfm, "_extract", lambda *_: pytest.fail("began"))
    usage = shutil.disk_usage(folder)._replace(free=5 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(KdstError, match=r"MiB of room in .*, and 5 MiB are left") as error:
        load(folder)
    assert "--sfm DIR" in str(error.value)
    assert not list(cache.iterdir())


def test_room_that_is_used_up_meanwhile_ends_in_words(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)
    free = iter([10 << 30] * 4)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free, 1 << 20)))
    with pytest.raises(KdstError, match="and 1 MiB are left"):
        load(folder)
    assert not list(cache.iterdir())


def test_masked_parts_give_no_points(folder: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, : WIDTH // 2] = 255
    (folder / "masks").mkdir()
    for number in range(6):
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png.png")
    capture = load(folder).capture
    assert capture.masks is not None
    assert capture.tracks is not None
    for camera, track in zip(capture.cameras, capture.tracks, strict=True):
        seen = capture.points[track] @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        x = (seen[:, 0] / seen[:, 2]) * camera.K[0, 0] + camera.K[0, 2]
        assert len(track) > 20
        assert x.max() < camera.width / 2 + 4


def test_left_out_photographs_are_named(folder: Path) -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    source = load(folder)
    assert source.capture.names == [f"{k}.png" for k in range(6)]
    warning = source.placement.warnings()[0]  # type: ignore[union-attr]
    assert "placed 6 of 7" in warning
    assert "left out: noise.png" in warning
    assert "Fewer than 90 %" in warning


def test_of_two_groups_the_larger_is_used_and_both_are_counted(
    folder: Path, pictures: list[Image.Image]
) -> None:
    for number in range(4):
        mirrored = pictures[number].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        mirrored.save(folder / f"mirrored{number}.png")
    placement = load(folder).placement
    assert placement is not None
    assert list(placement.sizes) == [6, 4]
    assert "2 groups that do not overlap (6, 4 photographs)" in placement.warnings()[1]


def test_photographs_of_two_sizes_are_placed_together(folder: Path) -> None:
    for number in (1, 4):
        path = folder / f"{number}.png"
        with Image.open(path) as picture:
            small = picture.resize((WIDTH * 3 // 4, HEIGHT * 3 // 4), Image.Resampling.LANCZOS)
        small.save(path)
    source = load(folder)
    assert source.placement.registered == 6  # type: ignore[union-attr]
    assert source.capture.images[1].shape[1] < source.capture.images[0].shape[1]


def one_photograph(folder: Path) -> None:
    for number in range(1, 6):
        (folder / f"{number}.png").unlink()


def nothing_in_common(folder: Path) -> None:
    rng = np.random.default_rng(2)
    for number in range(6):
        noise = rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")


def copies(folder: Path) -> None:
    for number in range(1, 6):
        (folder / f"{number}.png").write_bytes((folder / "0.png").read_bytes())


def nothing_at_all(folder: Path) -> None:
    for number in range(6):
        (folder / f"{number}.png").unlink()


def other_mask(folder: Path) -> None:
    (folder / "masks").mkdir()
    Image.new("L", (10, 10)).save(folder / "masks" / "1.png")


def empty_files(folder: Path) -> None:
    for file in folder.iterdir():
        file.write_bytes(b"")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (one_photograph, "1 photograph; at least 2"),
        (nothing_in_common, "placed none of the 6 photographs; 0 of 15 pairs match"),
        (copies, "15 of 15 pairs match.\nThey may be copies"),
        (nothing_at_all, "no photographs"),
        (other_mask, "must agree"),
        (empty_files, "skipped, cannot be read as an image: 0.png, 1.png"),
    ],
)
def test_photographs_that_cannot_be_placed_are_refused_in_two_lines(
    folder: Path, harm: Callable[[Path], None], message: str
) -> None:
    harm(folder)
    with pytest.raises(KdstError, match=message) as error:
        load(folder)
    assert len(str(error.value).splitlines()) <= 2
    assert not list(folder.glob("*sfm-*"))


def test_files_that_are_no_whole_pictures_are_skipped_and_named(
    folder: Path, pictures: list[Image.Image]
) -> None:
    whole = (folder / "0.png").read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    pictures[0].save(folder / "half.jpg")
    half = (folder / "half.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(half[: len(half) // 2])
    (folder / "page.jpeg").write_text("<html>")
    source = load(folder)
    assert source.capture.names == [f"{k}.png" for k in range(6)]
    assert source.said == (
        "4 photographs are skipped, cannot be read as an image: empty.jpg, half.jpg, half.png,"
        " page.jpeg. Replace or remove such files.",
    )


def test_photographs_are_found_beside_an_empty_folder_and_in_folders_of_a_camera(
    folder: Path,
) -> None:
    (folder / "images").mkdir()
    assert len(load(folder).capture.names) == 6
    (folder / "DCIM" / "100").mkdir(parents=True)
    (folder / "masks").mkdir()
    (folder / ".trash").mkdir()
    for number in range(6):
        file = folder / f"{number}.png"
        (folder / ".trash" / f"{number}.png").write_bytes(file.read_bytes())
        Image.new("L", (WIDTH, HEIGHT), 255).save(folder / "masks" / f"{number}.png")
        file.rename(folder / "DCIM" / "100" / f"{number}.png")
    assert load(folder).capture.names == [f"DCIM/100/{k}.png" for k in range(6)]


@pytest.fixture
def film(folder: Path) -> Path:
    """A video of the six photographs, each shown for five frames."""
    import imageio_ffmpeg

    path = folder.parent / "film.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-framerate", "5"]
    command += ["-i", str(folder / "%d.png"), "-r", "25", "-crf", "12", "-pix_fmt", "yuv420p"]
    subprocess.run([*command, "-metadata", "location=+48.85+002.29/", str(path)], check=True)
    return path


def test_a_video_gives_frames_that_are_placed(film: Path) -> None:
    source = load(film, video_frames=6)
    assert source.placement.registered == 6  # type: ignore[union-attr]
    (frames,) = (film.parent / "cache" / "kdst" / "frames").iterdir()
    files = sorted((frames / "images").iterdir())
    assert len(files) == 6
    for file in files:
        with Image.open(file) as picture:
            assert picture.size == (WIDTH, HEIGHT)
            assert not picture.getexif()


def test_the_sharpest_frame_of_each_stretch_of_a_video_is_kept(
    folder: Path, tmp_path: Path
) -> None:
    """Of five frames of each photograph all but one are blurred, a different one each time."""
    found, kept = tmp_path / "all", tmp_path / "kept"
    found.mkdir()
    kept.mkdir()
    sharp = {}
    for number, file in enumerate(sorted(folder.glob("*.png"))[:3]):
        with Image.open(file) as picture:
            for k in range(5):
                blurred = picture.filter(ImageFilter.GaussianBlur(0 if k == number else 1.5))
                blurred.save(found / f"{5 * number + k:05d}.jpg", quality=95)
        sharp[number] = (found / f"{6 * number:05d}.jpg").read_bytes()
    video._keep_sharpest(found, kept, 3, lambda _count: None)
    assert [f.read_bytes() for f in sorted(kept.iterdir())] == [sharp[k] for k in range(3)]


def test_a_video_is_read_once(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video.frames(film, 4, silent)
    monkeypatch.setattr(video, "_extract", lambda *_: pytest.fail("read again"))
    assert len(list((video.frames(film, 4, silent) / "images").iterdir())) == 4


def test_a_video_whose_name_ffmpeg_could_misread_is_read(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(film.parent)
    for name in ("concat:a.mp4", "-i %03d 'b'.mp4"):
        Path(name).write_bytes(film.read_bytes())
        found = video.frames(Path(name), 3, silent)
        assert len(list((found / "images").iterdir())) == 3


def test_a_file_that_is_no_video_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"nothing" * 100)
    with pytest.raises(KdstError, match="cannot be read as a video") as error:
        load(path)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["broken.mp4"]


def opengl(viewmat: Any) -> list[list[float]]:
    """Camera to world in OpenGL's axes."""
    world: list[list[float]] = (np.linalg.inv(viewmat) @ np.diag([1.0, -1, -1, 1])).tolist()
    return world


@pytest.fixture
def nerfstudio(tmp_path: Path, pictures: list[Image.Image]) -> Path:
    root = tmp_path / "nerfstudio"
    (root / "images").mkdir(parents=True)
    frames = []
    for number, picture in enumerate(pictures):
        picture.save(root / "images" / f"frame_{number}.png")
        matrix = opengl(pose(number))
        frames.append({"file_path": f"images/frame_{number}.png", "transform_matrix": matrix})
    scene = {"w": WIDTH, "h": HEIGHT, "fl_x": FOCAL, "fl_y": FOCAL, "frames": frames}
    scene |= {"cx": WIDTH / 2, "cy": HEIGHT / 2, "camera_model": "OPENCV"}
    (root / "transforms.json").write_text(json.dumps(scene))
    return root


def change(root: Path, name: str = "transforms.json", **values: Any) -> None:
    """Change values of a scene; None removes one."""
    scene = json.loads((root / name).read_text()) | values
    kept = {key: value for key, value in scene.items() if value is not None}
    (root / name).write_text(json.dumps(kept))


def test_transforms_json_gives_opencv_cameras(nerfstudio: Path) -> None:
    capture = load(nerfstudio).capture
    for number, camera in enumerate(capture.cameras):
        torch.testing.assert_close(
            camera.viewmat.double(), torch.from_numpy(pose(number)), rtol=1e-5, atol=1e-5
        )
        assert camera.K[0, 0] == FOCAL
    assert len(capture.points) == 0


def test_a_field_of_view_stands_for_a_focal_length(nerfstudio: Path) -> None:
    angle = 2 * math.atan(0.5 * WIDTH / FOCAL)
    change(nerfstudio, fl_x=None, fl_y=None, cx=None, w=None, h=None, camera_angle_x=angle)
    K = load(nerfstudio).capture.cameras[0].K
    expected = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    torch.testing.assert_close(K, expected)


def test_intrinsics_of_a_frame_override_those_of_the_scene(nerfstudio: Path) -> None:
    frames = json.loads((nerfstudio / "transforms.json").read_text())["frames"]
    frames[2] |= {"fl_x": 300.0, "fl_y": 310.0}
    change(nerfstudio, frames=frames)
    cameras = load(nerfstudio).capture.cameras
    assert cameras[2].K.diag()[:2].tolist() == [300.0, 310.0]
    assert cameras[1].K[0, 0] == FOCAL


def test_a_field_of_view_of_a_frame_overrides_the_focal_length_of_the_scene(
    nerfstudio: Path,
) -> None:
    first_frame(nerfstudio, camera_angle_x=2 * math.atan(0.5 * WIDTH / 300))
    cameras = load(nerfstudio).capture.cameras
    assert cameras[0].K.diag()[:2].tolist() == pytest.approx([300.0, 300.0])
    assert cameras[1].K.diag()[:2].tolist() == [FOCAL, FOCAL]


def test_what_instant_ngp_says_of_fisheyes_is_read(nerfstudio: Path) -> None:
    change(nerfstudio, k1=0.05, camera_model="OPENCV_FISHEYE")
    named = load(nerfstudio).capture.images[0]
    change(nerfstudio, camera_model=None, is_fisheye=True)
    assert torch.equal(load(nerfstudio).capture.images[0], named)


def test_frames_of_one_photograph_and_names_without_one_are_told(nerfstudio: Path) -> None:
    frames = json.loads((nerfstudio / "transforms.json").read_text())["frames"]
    again = frames[3] | {"transform_matrix": frames[0]["transform_matrix"]}
    change(nerfstudio, frames=[*frames, again], test_filenames=["images/frame_1.png", "x/9.png"])
    source = load(nerfstudio)
    assert len(source.capture.images) == len(frames)
    expected = torch.from_numpy(pose(3)).float()
    row = source.capture.names.index("images/frame_3.png")
    torch.testing.assert_close(source.capture.cameras[row].viewmat, expected, rtol=0, atol=1e-5)
    assert "the first of them is used: images/frame_3.png." in source.said[0]
    assert source.said[1].endswith("hold out nothing: x/9.png.")
    assert len(source.test) == 1


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"k1": 0.2}, True),
        ({"k1": 0.2, "k3": 0.1}, True),
        ({"k1": 0.05, "camera_model": "OPENCV_FISHEYE"}, True),
        ({"k1": 0.0}, False),
    ],
)
def test_distortion_is_taken_out(nerfstudio: Path, values: dict[str, Any], shown: bool) -> None:
    straight = load(nerfstudio).capture.images[0]
    change(nerfstudio, **values)
    image = load(nerfstudio).capture.images[0]
    assert (image.shape != straight.shape or not torch.equal(image, straight)) == shown


def test_a_point_cloud_is_where_training_starts(nerfstudio: Path) -> None:
    rows = "0.1 0.2 0.3 255 0 0\n1 2 3 0 255 0\n"
    header = "ply\nformat ascii 1.0\nelement vertex 2\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += "".join(f"property uint8 {c}\n" for c in ("red", "green", "blue")) + "end_header\n"
    (nerfstudio / "sparse_pc.ply").write_text(header + rows)
    change(nerfstudio, ply_file_path="sparse_pc.ply")
    capture = load(nerfstudio).capture
    assert sorted(capture.points[:, 0].tolist()) == pytest.approx([0.1, 1.0])
    assert capture.colors[capture.points[:, 0].argmin()].tolist() == [1.0, 0.0, 0.0]


def test_smaller_photographs_are_used_where_their_size_fits(nerfstudio: Path) -> None:
    (nerfstudio / "images_2").mkdir()
    for number, size in ((0, (120, 90)), (1, (100, 75))):
        flat = Image.new("RGB", size, (10, 20, 30))
        flat.save(nerfstudio / "images_2" / f"frame_{number}.png")
    images = load(nerfstudio, downscale=2).capture.images
    assert all(image.shape == (90, 120, 3) for image in images)
    assert images[0].std(dim=(0, 1)).max() == 0
    assert images[1].std(dim=(0, 1)).max() > 0.05


def test_masks_of_whole_photographs_fit_smaller_ones(nerfstudio: Path) -> None:
    (nerfstudio / "images_2").mkdir()
    (nerfstudio / "masks").mkdir()
    Image.new("RGB", (120, 90)).save(nerfstudio / "images_2" / "frame_0.png")
    Image.new("L", (WIDTH, HEIGHT), 255).save(nerfstudio / "masks" / "frame_0.png")
    masks = load(nerfstudio, downscale=2).capture.masks
    assert masks is not None
    assert masks[0].shape == (90, 120)  # type: ignore[union-attr]


@pytest.fixture
def blender(tmp_path: Path, pictures: list[Image.Image]) -> Path:
    """Two training and two test views, transparent on the left half."""
    root = tmp_path / "blender"
    angle = 2 * math.atan(0.5 * WIDTH / FOCAL)
    for split, numbers in (("train", (0, 2, 4)), ("test", (1, 3))):
        (root / split).mkdir(parents=True)
        frames = []
        for number in numbers:
            picture = np.array(pictures[number].convert("RGBA"))
            picture[:, : WIDTH // 2, 3] = 0
            Image.fromarray(picture).save(root / split / f"r_{number}.png")
            matrix = opengl(pose(number))
            frames.append({"file_path": f"./{split}/r_{number}", "transform_matrix": matrix})
        scene = {"camera_angle_x": angle, "frames": frames}
        (root / f"transforms_{split}.json").write_text(json.dumps(scene))
    return root


def test_blender_scenes_hold_out_what_their_authors_did(blender: Path) -> None:
    source = load(blender)
    assert source.capture.names[:3] == ["train/r_0.png", "train/r_2.png", "train/r_4.png"]
    assert source.test == (3, 4)
    torch.testing.assert_close(
        source.capture.cameras[4].viewmat.double(), torch.from_numpy(pose(3)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("alpha", "shade"), [("white", 1.0), ("black", 0.0)])
def test_transparent_pixels_show_the_background(blender: Path, alpha: str, shade: float) -> None:
    capture = load(blender, alpha=alpha).capture
    assert capture.background is not None
    assert capture.background.tolist() == [shade] * 3
    assert (capture.images[0][:, : WIDTH // 2] == shade).all()
    assert capture.images[0][:, WIDTH // 2 :].std() > 0.05
    assert capture.masks is None


def test_transparent_pixels_can_be_a_mask(blender: Path) -> None:
    capture = load(blender, alpha="mask").capture
    assert capture.background is None
    assert capture.masks is not None
    assert not capture.masks[0][:, : WIDTH // 2].any()  # type: ignore[index]
    assert capture.masks[0][:, WIDTH // 2 :].all()  # type: ignore[index]


def first_frame(root: Path, **values: Any) -> None:
    frames = json.loads((root / "transforms.json").read_text())["frames"]
    frames[0] |= values
    change(root, frames=frames)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda r: (r / "transforms.json").write_text("{"), "cannot be read as JSON"),
        (lambda r: (r / "transforms.json").write_text("[]"), 'no list "frames"'),
        (lambda r: change(r, frames=[]), "lists no frames"),
        (lambda r: change(r, frames=[{}]), "frame 0 has no file_path"),
        (lambda r: change(r, fl_x=None, fl_y=None), "no focal length"),
        (lambda r: change(r, fl_y=-FOCAL), "no focal length"),
        (lambda r: change(r, fl_x="far"), "fl_x is 'far', not a number"),
        (lambda r: change(r, w=0), "has no size"),
        (lambda r: change(r, w=math.nan), "w is nan; it must be finite"),
        (lambda r: change(r, h=math.inf), "h is inf; it must be finite"),
        (lambda r: change(r, w=1e30), "w is 1e"),
        (lambda r: change(r, k1=math.nan), "k1 is nan; it must be finite"),
        (lambda r: change(r, val_filenames="images/frame_1.png"), "val_filenames is no list"),
        (lambda r: change(r, test_filenames=[1]), "test_filenames is no list of names"),
        (lambda r: (r / "transforms.json").write_text("[" * 100_000), "cannot be read as JSON"),
        (lambda r: first_frame(r, file_path="/"), "'/' is named as a photograph"),
        (
            lambda r: first_frame(r, transform_matrix=np.diag([1.0, 1, 1, 5]).tolist()),
            "does not end in the row 0 0 0 1",
        ),
        (lambda r: change(r, h=90), "another shape"),
        (lambda r: change(r, camera_model="EQUIRECTANGULAR"), "are not read"),
        (lambda r: change(r, ply_file_path="no.ply"), "cannot be read as a point cloud"),
        (lambda r: first_frame(r, transform_matrix=[[1, 2], [3]]), "is not 4×4 numbers"),
        (
            lambda r: first_frame(r, transform_matrix=(np.eye(4) * np.nan).tolist()),
            "the pose of images/frame_0.png is not finite",
        ),
        (
            lambda r: first_frame(r, transform_matrix=(2 * np.eye(4)).tolist()),
            "does not begin with a rotation",
        ),
        (lambda r: first_frame(r, file_path="transforms.json"), "ending is not that"),
        (lambda r: first_frame(r, mask_path="gone.png"), "is missing"),
        (lambda r: Image.new("RGB", (10, 30)).save(r / "images/frame_1.png"), "another shape"),
    ],
)
def test_broken_transforms_are_refused_in_two_lines(
    nerfstudio: Path, folder: Path, harm: Callable[[Path], None], message: str
) -> None:
    harm(nerfstudio)
    with pytest.raises(KdstError, match=message) as error:
        load(nerfstudio)
    assert len(str(error.value).splitlines()) <= 2


def test_what_follows_from_what_is_said_need_not_be_said(nerfstudio: Path) -> None:
    whole = load(nerfstudio, width=120).capture
    for changed in (
        {"h": None},
        {"w": None, "h": None, "fl_y": None},
        {"fl_x": None, "camera_model": "opencv"},
        {"w": 2 * WIDTH, "h": None, "fl_x": 2 * FOCAL, "fl_y": None, "cx": WIDTH, "cy": HEIGHT},
    ):
        before = (nerfstudio / "transforms.json").read_text()
        change(nerfstudio, **changed)
        for one, other in zip(
            load(nerfstudio, width=120).capture.cameras, whole.cameras, strict=True
        ):
            assert torch.allclose(one.K, other.K), changed
        (nerfstudio / "transforms.json").write_text(before)
    change(nerfstudio, val_filenames=[], test_filenames=None)
    assert load(nerfstudio).test == ()


def test_photographs_that_are_left_in_a_smaller_copy_are_not_divided_twice(
    nerfstudio: Path,
) -> None:
    (nerfstudio / "images").rename(nerfstudio / "images_2")
    for file in (nerfstudio / "images_2").iterdir():
        with Image.open(file) as picture:
            picture.resize((WIDTH // 2, HEIGHT // 2)).save(file)
    capture = load(nerfstudio, downscale=2).capture
    assert capture.images[0].shape == (HEIGHT // 2, WIDTH // 2, 3)
    assert capture.cameras[0].K[0, 0] == pytest.approx(FOCAL / 2)


def test_dividing_to_nothing_is_refused(nerfstudio: Path) -> None:
    with pytest.raises(KdstError, match=r"--downscale 1000 leaves nothing of images/frame_0\.png"):
        load(nerfstudio, downscale=1000)


def test_a_missing_photograph_is_skipped_and_named(nerfstudio: Path) -> None:
    (nerfstudio / "images" / "frame_2.png").unlink()
    source = load(nerfstudio)
    assert len(source.capture.images) == len(source.capture.cameras) == 5
    assert "1 of 6 photographs" in source.said[0]
    assert "frame_2.png" in source.said[0]


def test_a_photograph_of_another_ending_is_meant(nerfstudio: Path) -> None:
    images = nerfstudio / "images"
    (images / "frame_2.png").rename(images / "frame_2.PNG")
    with Image.open(images / "frame_3.png") as picture:
        picture.save(images / "frame_3.jpg")
    (images / "frame_3.png").unlink()
    source = load(nerfstudio)
    assert (len(source.capture.images), source.said) == (6, ())


def test_photographs_elsewhere_are_read_and_said_however_data_is_typed(
    nerfstudio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nerfstudio / "images").rename(nerfstudio.parent / "shots")
    frames = json.loads((nerfstudio / "transforms.json").read_text())["frames"]
    for number, frame in enumerate(frames):
        frame["file_path"] = f"../shots/frame_{number}.png"
    frames[0]["file_path"] = str(nerfstudio.parent / "shots" / "frame_0.png")
    change(nerfstudio, frames=frames)
    monkeypatch.chdir(nerfstudio.parent)
    for data in (nerfstudio, Path("nerfstudio")):
        source = load(data)
        assert len(source.capture.images) == 6
        assert str(nerfstudio.parent / "shots") in source.said[0]


def test_a_format_that_is_not_read_is_named(folder: Path) -> None:
    (folder / "IMG_1.HEIC").write_bytes(b"nothing")
    assert "IMG_1.HEIC" in load(folder).said[0]


def test_large_photographs_are_reduced_unless_a_width_is_given(nerfstudio: Path) -> None:
    for file in (nerfstudio / "images").iterdir():
        with Image.open(file) as picture:
            picture.resize((1920, 1440)).save(file)
    assert load(nerfstudio).capture.images[0].shape == (1200, 1600, 3)
    assert load(nerfstudio, width=1800).capture.images[0].shape == (1350, 1800, 3)
