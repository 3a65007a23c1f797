"""Images of every kind become what the model needs, or one line says why not."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kdst_core.errors import KdstError
from kdst_edit.pictures.reading import LONGEST, fitted, read


def saved(tmp_path: Path, picture: Image.Image, name: str = "a.png", **how: object) -> Path:
    path = tmp_path / name
    picture.save(path, **how)
    return path


def gradient(height: int = 32, width: int = 32) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, 0 * x + 128], -1).astype(np.uint8)


def test_an_rgb_image_of_the_right_size_is_kept_bit_for_bit(tmp_path: Path) -> None:
    photograph = read(saved(tmp_path, Image.fromarray(gradient())), 4, 32)
    pixels = (photograph.image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    assert (pixels == gradient()).all()
    assert photograph.notes == ()


def test_transparent_parts_are_laid_on_white_and_said(tmp_path: Path) -> None:
    rgba = np.dstack([gradient(), np.full((32, 32), 255, np.uint8)])
    rgba[:8, :, 3] = 0
    photograph = read(saved(tmp_path, Image.fromarray(rgba)), 4, 32)
    assert (photograph.image[:, :8] == 1).all()
    assert "laid on white" in photograph.notes[0]


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "LA"])
def test_other_modes_become_rgb_and_it_is_said(tmp_path: Path, mode: str) -> None:
    name = "a.tiff" if mode == "CMYK" else "a.png"
    path = saved(tmp_path, Image.fromarray(gradient()).convert(mode), name)
    photograph = read(path, 4, 32)
    assert photograph.image.shape == (3, 32, 32)
    assert len(photograph.notes) == 1


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    photograph = read(saved(tmp_path, Image.fromarray(values)), 4, 32)
    wanted = torch.from_numpy(values.astype(np.float32) / 65535)
    assert torch.allclose(photograph.image[1], wanted, atol=1 / 255)


def test_exif_orientation_is_obeyed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90° clockwise
    picture = Image.fromarray(gradient(32, 48))
    photograph = read(saved(tmp_path, picture, exif=exif), 4, 32)
    assert photograph.image.shape == (3, 48, 32)
    turned = torch.from_numpy(np.rot90(gradient(32, 48), -1).copy()).permute(2, 0, 1) / 255
    assert torch.allclose(photograph.image, turned.float(), atol=1e-6)
    assert "upright" in photograph.notes[0]


def test_sides_that_do_not_divide_are_resized_and_it_is_said(tmp_path: Path) -> None:
    photograph = read(saved(tmp_path, Image.fromarray(gradient(33, 45))), 8, 32)
    assert photograph.image.shape == (3, 32, 40)
    assert "resized from 45×33" in photograph.notes[0]


def test_an_enlarged_image_is_said_to_lack_detail(tmp_path: Path) -> None:
    photograph = read(saved(tmp_path, Image.fromarray(gradient(8, 8))), 4, 32)
    assert photograph.image.shape == (3, 32, 32)
    assert "enlarged" in photograph.notes[1]


def test_only_the_first_frame_of_an_animation_is_used(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 32), c) for c in ("red", "blue")]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    photograph = read(path, 4, 32)
    assert photograph.image[0].mean() > 0.9
    assert "2 frames" in photograph.notes[0]


def refused(path: Path) -> str:
    with pytest.raises(KdstError) as caught:
        read(path, 4, 32)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message


def test_what_cannot_be_an_image_is_refused_in_one_line(tmp_path: Path) -> None:
    text, short = tmp_path / "text.png", tmp_path / "short.png"
    text.write_text("no image")
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        whole, "PNG"
    )
    short.write_bytes(whole.getvalue()[:4000])
    assert "no image that Pillow knows" in refused(text)
    assert "cannot be read" in refused(short)
    assert "does not exist" in refused(tmp_path / "none.png")
    assert "is a directory" in refused(tmp_path)


def test_images_of_unknown_range_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(np.ones((32, 32), np.float32)), "a.tiff")
    assert "range is not known" in refused(path)


def test_specks_and_ribbons_are_refused(tmp_path: Path) -> None:
    assert "at least 4" in refused(saved(tmp_path, Image.new("RGB", (3, 3)), "speck.png"))
    assert "at most 4 times" in refused(saved(tmp_path, Image.new("RGB", (200, 20)), "long.png"))


@given(st.integers(64, 5000), st.floats(1, LONGEST), st.booleans(), st.sampled_from([8, 64]))
def test_fitted_sides_divide_and_keep_the_shape(
    short: int, ratio: float, tall: bool, multiple: int
) -> None:
    size = (short, int(short * ratio))[:: -1 if tall else 1]
    width, height = fitted(size, multiple, 512)
    assert width % multiple == height % multiple == 0
    assert min(width, height) == 512
    assert abs(width / height / (size[0] / size[1]) - 1) < multiple / 2 / 512 + 0.01
