"""COLMAP models as people have them: cut off, several, under another number, with odd cameras."""

import re
from pathlib import Path

import pycolmap
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from kdst_core.errors import KdstError
from kdst_reconstruct.captures.source import Source, load_source
from kdst_reconstruct.inputs import ReconstructInputs
from kdst_reconstruct.kit import small_capture


def model(root: Path, camera: str = "PINHOLE 64 48 57.6 57.6 32 24", number: str = "0") -> Path:
    """Write the small capture as photographs with a model of texts."""
    capture, folder = small_capture(), root / "sparse" / number
    (root / "images").mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True)
    lines = []
    for k, (image, view) in enumerate(zip(capture.images, capture.cameras, strict=True)):
        pixels = (image * 255).round().byte().numpy()
        Image.fromarray(pixels).save(root / "images" / f"{k:02d}.png")
        x, y, z, w = Rotation.from_matrix(view.viewmat[:3, :3].double().numpy()).as_quat()
        numbers = (k + 1, w, x, y, z, *view.viewmat[:3, 3].tolist(), 1)
        lines += [" ".join(map(str, numbers)) + f" {k:02d}.png", ""]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    (folder / "cameras.txt").write_text(f"1 {camera}\n")
    (folder / "points3D.txt").write_text("1 0 0 0 9 9 9 0.5\n")
    return folder


def loaded(root: Path) -> Source:
    """The capture in a folder."""
    return load_source(ReconstructInputs(data=str(root)), None, "quiet")


def as_binary(folder: Path) -> None:
    """Write a model of texts as binary files."""
    whole = pycolmap.Reconstruction(folder)
    for text in folder.glob("*.txt"):
        text.unlink()
    whole.write(folder)


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
@pytest.mark.parametrize("left", [0, 6, 0.3, 0.7, -1])
def test_a_binary_model_that_is_cut_off_is_refused(tmp_path: Path, name: str, left: float) -> None:
    folder = model(tmp_path)
    as_binary(folder)
    assert len(loaded(tmp_path).capture.images) == 10
    path = folder / f"{name}.bin"
    data = path.read_bytes()
    path.write_bytes(data[: int(left * len(data)) if 0 < left < 1 else int(left)])
    with pytest.raises(KdstError, match=rf"{name}\.bin is truncated"):
        loaded(tmp_path)


def test_a_model_under_another_number_is_found(tmp_path: Path) -> None:
    model(tmp_path, number="2")
    found = loaded(tmp_path)
    assert found.placement is None, "the cameras are those of the model"
    assert len(found.capture.images) == 10
    assert not found.said


def test_a_model_where_nerfstudio_keeps_it_is_found(tmp_path: Path) -> None:
    model(tmp_path)
    (tmp_path / "colmap").mkdir()
    (tmp_path / "sparse").rename(tmp_path / "colmap" / "sparse")
    assert loaded(tmp_path).placement is None


def test_masks_of_no_photograph_of_a_model_are_named(tmp_path: Path) -> None:
    model(tmp_path)
    (tmp_path / "masks").mkdir()
    for name in ("00.png", "1.png"):
        Image.new("L", (64, 48), 255).save(tmp_path / "masks" / name)
    (sentence,) = loaded(tmp_path).said
    assert "1 of 2 files" in sentence
    assert "no photograph: 1.png." in sentence


def test_of_several_models_the_first_is_used_and_that_is_said(tmp_path: Path) -> None:
    for number in ("10", "2", "1"):
        model(tmp_path, number=number)
    assert [sentence for sentence in loaded(tmp_path).said if "several models" in sentence] == [
        f"{tmp_path}/sparse holds several models, which share no coordinates: 1 is used, not 2, 10."
    ]


@pytest.mark.parametrize("focal", ["-57.6 57.6", "0 57.6", "57.6 0"])
def test_a_focal_length_that_is_not_above_0_is_refused(tmp_path: Path, focal: str) -> None:
    model(tmp_path, camera=f"PINHOLE 64 48 {focal} 32 24")
    with pytest.raises(KdstError, match=r"camera of 00\.png has the focal lengths"):
        loaded(tmp_path)


def test_a_distortion_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    model(tmp_path, camera="OPENCV 64 48 57.6 57.6 32 24 1e6 -1e9 0 0")
    with pytest.raises(KdstError, match=r"distortion of 00\.png leaves nothing of the picture"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("part", "old", "new", "said"),
    [
        ("images", "\n1 ", "\nx ", "line 2 of images.txt is 'x "),
        ("images", " 00.png", "", "line 2 of images.txt is '1 "),
        ("cameras", " 32 24", " 32", "line 2 of cameras.txt is '1 PINHOLE 64 48 57.6 57.6 32'"),
        ("cameras", "PINHOLE", "PINHOLES", "line 2 of cameras.txt is '1 PINHOLES"),
        ("cameras", "57.6", "57,6", "line 2 of cameras.txt is '1 PINHOLE 64 48 57,6"),
        ("points3D", "0 0 0", "0 0 nan", "line 2 of points3D.txt is '1 0 0 nan"),
    ],
)
def test_the_line_of_a_text_that_cannot_be_read_is_named(
    tmp_path: Path, part: str, old: str, new: str, said: str
) -> None:
    file = model(tmp_path) / f"{part}.txt"
    file.write_text(f"# from elsewhere\n{file.read_text()}".replace(old, new, 1))
    with pytest.raises(KdstError, match=re.escape(said)) as error:
        loaded(tmp_path)
    assert str(error.value).startswith(str(file.parent))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_text_without_images_is_refused(tmp_path: Path, mark: str) -> None:
    (model(tmp_path) / "images.txt").write_text(mark, encoding="utf-8")
    with pytest.raises(KdstError, match="no registered images"):
        loaded(tmp_path)


@pytest.mark.parametrize("data", ["~nobody-of-this-name/a", "a" * 5000, "a\0b"])
def test_what_can_be_no_path_is_refused_in_one_line(data: str) -> None:
    with pytest.raises(KdstError, match=r"is no path|no such folder") as error:
        load_source(ReconstructInputs(data=data), None, "quiet")
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("data", ["", "  "])
def test_no_name_is_not_the_folder_at_hand(data: str) -> None:
    with pytest.raises(KdstError, match="--data is empty"):
        load_source(ReconstructInputs(data=data), None, "quiet")
