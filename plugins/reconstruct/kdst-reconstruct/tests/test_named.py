"""A capture names its photographs a little wrong, and is read all the same; nothing is read twice."""

import codecs
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

from kdst_core.contracts import Capture
from kdst_core.errors import KdstError
from kdst_reconstruct.captures import colmap, orientation, photographs, sfm
from kdst_reconstruct.captures import source as captures
from kdst_reconstruct.captures.named import SUFFIXES, bare, matched
from kdst_reconstruct.inputs import ReconstructInputs


def files(root: Path, *names: str) -> list[Path]:
    """Empty files of some names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return [root / name for name in names]


@pytest.mark.parametrize(
    ("asked", "there", "meant"),
    [
        ("a.jpg", ["a.jpg", "a.png"], "a.jpg"),
        ("a.jpg", ["a.png", "A.JPG"], "a.png"),
        ("a.jpg", ["a.JPG", "a.png"], "a.JPG"),
        ("IMG_1.jpg", ["img_1.JPG"], "img_1.JPG"),
        ("a.jpg", ["a.jpg.png"], "a.jpg.png"),
        ("a.jpg.png", ["a.jpg"], "a.jpg"),
        ("left/a.jpg", ["a.jpg"], "a.jpg"),
        ("a.jpg", ["left/a.jpg", "b.jpg"], "left/a.jpg"),
        ("images/a.jpg", ["old/a.jpg", "images_2/a.jpg", "x/images/a.jpg"], "x/images/a.jpg"),
        ("a.jpg", ["left/a.jpg", "right/a.jpg"], "a.jpg"),
        ("a.jpg", ["masks/a.jpg"], "a.jpg"),
        ("a.jpg", ["a.txt", "ab.jpg"], "a.jpg"),
    ],
)
def test_the_photograph_that_is_meant_is_found(
    tmp_path: Path, asked: str, there: list[str], meant: str
) -> None:
    files(tmp_path, *there)
    assert matched([tmp_path / asked], tmp_path) == [tmp_path / meant]


def test_no_photograph_is_meant_twice(tmp_path: Path) -> None:
    """The right camera's picture is gone: the left one's is not taken for it."""
    left, right = tmp_path / "left" / "0.jpg", tmp_path / "right" / "0.jpg"
    files(tmp_path, "left/0.jpg")
    assert matched([left, right], tmp_path) == [left, right]
    png, jpg = tmp_path / "left" / "0.png", left
    assert matched([png, jpg], tmp_path) == [png, jpg]


def test_names_are_compared_without_endings() -> None:
    assert bare("Öl.JPG.png") == "öl"
    assert bare("a.b.jpeg") == "a.b"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A COLMAP text model of three photographs."""
    rng = np.random.default_rng(0)
    (tmp_path / "sparse").mkdir()
    lines = {"cameras": ["1 PINHOLE 24 18 20 20 12 9"], "images": [], "points3D": []}
    for k in range(3):
        lines["images"] += [f"{k + 1} 1 0 0 0 {k} 0 0 1 p {k}.jpg", ""]
        (tmp_path / "images").mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (18, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"p {k}.png")
    lines["points3D"] += ["1 0 0 5 10 20 30 0.1"]
    for part, rows in lines.items():
        (tmp_path / "sparse" / f"{part}.txt").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_texts_with_a_byte_order_mark_are_read(model: Path) -> None:
    for file in (model / "sparse").iterdir():
        file.write_bytes(codecs.BOM_UTF8 + b"# written elsewhere\r\n" + file.read_bytes())
    capture = colmap.load(model, model / "images", model / "sparse", ReconstructInputs())
    assert capture.names == ["p 0.jpg", "p 1.jpg", "p 2.jpg"]


def read(model: Path) -> Capture:
    """The capture, its photographs named as the model names them."""
    return colmap.load(model, model / "images", model / "sparse", ReconstructInputs())


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "".join(f"{line}\n" for line in text.split("\n") if line),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n\n", "\n\n# an image\n"),
        lambda text: text.replace("\n\n", "\n1.5 2 -1 3 4 -1 5 6 -1 7.5e1 8 -1\n"),
        lambda text: text.replace("\n\n", "\n\n\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n\n", "\n").replace("\n", "\r\n"),
    ],
    ids=["no-points", "no-end", "comments", "points", "blank-lines", "crlf", "crlf-no-points"],
)
def test_every_image_of_a_text_is_read(model: Path, change: Callable[[str], str]) -> None:
    """Without the line of its points, an image would take the next one for it."""
    path = model / "sparse" / "images.txt"
    path.write_bytes(change(path.read_text()).encode())
    capture = read(model)
    assert capture.names == ["p 0.jpg", "p 1.jpg", "p 2.jpg"]
    assert [float(c.viewmat[0, 3]) for c in capture.cameras] == [0, 1, 2]


@pytest.mark.parametrize("name", ["a\u2028b.png", "a\x85 b.png", "1.5 2.png", "7"])
def test_odd_names_of_a_text_are_whole(model: Path, name: str) -> None:
    path = model / "sparse" / "images.txt"
    path.write_text(path.read_text().replace("p 1.jpg", name))
    shown = name if name.endswith(".png") else f"{name}.png"
    (model / "images" / "p 1.png").rename(model / "images" / shown)
    assert name in read(model).names


def test_a_model_with_two_cameras_for_a_photograph_is_refused(model: Path) -> None:
    path = model / "sparse" / "images.txt"
    path.write_text(path.read_text().replace("p 1.jpg", "p 2.jpg"))
    with pytest.raises(KdstError, match=r"several cameras for p 2\.jpg; keep one"):
        read(model)


def test_a_transforms_json_that_was_moved_finds_its_photographs(tmp_path: Path) -> None:
    frames = []
    for k in range(3):
        files(tmp_path, f"images/{k}.png", f"images_2/{k}.png")
        Image.new("RGB", (24, 18), (k, 0, 0)).save(tmp_path / "images" / f"{k}.png")
        name = f"/elsewhere/old/images/{k}.png" if k else "images\\0.png"
        pose = np.eye(4)
        pose[0, 3] = k
        frames.append({"file_path": name, "transform_matrix": pose.tolist()})
    scene = {"w": 24, "h": 18, "fl_x": 20.0, "frames": frames, "test_filenames": [name]}
    text = json.dumps(scene)
    (tmp_path / "transforms.json").write_bytes(codecs.BOM_UTF8 + text.encode())
    source = captures.load(ReconstructInputs(data=str(tmp_path)), None)  # type: ignore[arg-type]
    assert source.capture.names == ["images/0.png", "images/1.png", "images/2.png"]
    assert source.test == (2,)
    assert source.said == ()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [(65535, np.uint16), (65535, np.int32), (255, np.float32), (1, np.float32)],
)
def test_deep_pictures_are_scaled_and_not_cut(values: int, dtype: type) -> None:
    ramp = np.linspace(0, 1, 256).reshape(16, 16)
    shown = np.asarray(photographs.eight_bits(Image.fromarray((values * ramp).astype(dtype))))
    assert shown.dtype == np.uint8
    assert np.abs(shown / 255 - ramp).max() < 1 / 128


def test_every_orientation_is_turned_to_what_is_seen() -> None:
    upright = np.arange(12).reshape(3, 4)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }
    for number, pixels in stored.items():
        mirrored = number in orientation.MIRRORED
        seen = orientation.turn_pixels(pixels, orientation.TURNS[number], mirrored)
        assert np.array_equal(seen, upright), number


def test_photographs_of_phones_are_not_taken_for_an_attack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Image.new("RGB", (300, 200)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    assert photographs.is_whole(tmp_path / "a.png")
    assert Image.MAX_IMAGE_PIXELS == 20_000
    monkeypatch.setattr(photographs, "MOST_PIXELS", 20_000)
    assert not photographs.is_whole(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(1, 1), (5, 90)])
def test_pictures_of_a_few_pixels_are_whole(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "a.jpg")
    assert photographs.is_whole(tmp_path / "a.jpg")


def test_the_content_and_not_the_ending_says_what_colmap_reads(tmp_path: Path) -> None:
    picture = Image.new("RGB", (36, 24))
    for kind in ("GIF", "WEBP"):
        picture.save(tmp_path / "a.png", format=kind)
        camera = sfm._inferred(tmp_path / "a.png", picture, Image.Exif())
        assert (camera.width, camera.height) == (36, 24)


@pytest.mark.skipif(".avif" not in SUFFIXES, reason="Pillow without AVIF")
def test_the_focal_length_of_a_format_that_colmap_does_not_read_is_used(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = "camera"
    exif.get_ifd(0x8769)[0xA405] = 50  # focal length, as in 35 mm film
    picture = Image.new("RGB", (360, 240))
    for name in ("a.avif", "a.jpg"):
        picture.save(tmp_path / name, exif=exif)
    focal = []
    for name in ("a.avif", "a.jpg"):
        with Image.open(tmp_path / name) as file:
            focal.append(sfm._inferred(tmp_path / name, file.convert("RGB"), file.getexif()))
    assert focal[0].focal_length == pytest.approx(focal[1].focal_length)
    assert focal[0].has_prior_focal_length == focal[1].has_prior_focal_length
    assert isinstance(focal[0], pycolmap.Camera)


def test_what_is_left_out_is_named_with_what_to_do(tmp_path: Path) -> None:
    found = files(tmp_path, "a.jpg", "b.DNG", ".c.dng")
    said = captures._unread(found)
    assert said == [
        "1 photograph is in a format that is not read and left out: b.DNG. Convert them to JPEG."
    ]
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    (sentence,) = captures._unread(files(tmp_path, name))
    assert "1 photograph is left out, whose names are not UTF-8: caf\\udce9.jpg" in sentence
    with pytest.raises(KdstError, match="has no photographs"):
        captures.load(ReconstructInputs(data=str(files(tmp_path, f"x/{name}")[0].parent)), None)  # type: ignore[arg-type]


def test_options_that_never_act_on_a_capture_are_named() -> None:
    inputs = ReconstructInputs(
        video_frames=9, matching="all", sfm="x", alpha="mask", flight="orbit", flight_frames=0
    )
    facts = {"raw": False, "video": False, "scored": True, "seen_through": False}
    said = inputs.unused(**facts)
    assert [s.split()[0] for s in said] == [
        "--video-frames",
        "--matching",
        "--sfm",
        "--alpha",
        "--flight",
    ]
    assert inputs.unused(raw=True, video=True, scored=True, seen_through=True)[0].startswith(
        "--matching has no effect: frames"
    )
    assert ReconstructInputs(lpips="x", score_every=7).unused(**(facts | {"scored": False})) == [
        "--lpips has no effect: no view is held out.",
        "--score-every has no effect: no view is held out.",
    ]
    assert ReconstructInputs().unused(**(facts | {"scored": False})) == []
