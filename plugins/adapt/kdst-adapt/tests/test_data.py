"""Streams: the published layouts, folders, files, corruptions on the fly."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from kdst_adapt.corruptions.corrupt import corrupt
from kdst_adapt.corruptions.table import CORRUPTIONS, DIGITS
from kdst_adapt.default import data as digits
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.streams import data
from kdst_adapt.streams.sampling import cut, ordered


def test_severity_blocks_of_the_published_layout_are_in_order(tmp_path: Path) -> None:
    x = np.arange(50, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    np.save(tmp_path / "fog.npy", x)
    np.save(tmp_path / "snow.npy", x)
    np.save(tmp_path / "labels.npy", np.tile(np.arange(10), 5))
    inputs = AdaptInputs(data=f"cifar10-c:{tmp_path}", severity="2,5", types=["snow"])
    shifts = data.load(inputs, 0)
    assert [s.key for s in shifts] == ["snow.2", "snow.5"]
    images, labels = shifts[1].batch(np.array([0, 3]))
    assert images.shape == (2, 3, 4, 4)
    assert (images[:, 0, 0, 0] * 255).round().tolist() == [40, 43]
    assert labels.tolist() == [0, 3]


def test_labels_may_be_given_once_for_all_severities(tmp_path: Path) -> None:
    np.save(tmp_path / "fog.npy", np.zeros((50, 4, 4, 3), np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(10))
    (shift,) = data.load(AdaptInputs(data=f"cifar100-c:{tmp_path}"), 0)
    assert shift.labels.tolist() == list(range(10))


def test_a_folder_has_one_class_a_subfolder_in_alphabetical_order(tmp_path: Path) -> None:
    for name, value in (("zebra", 200), ("ant", 10)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (5, 4), (value, 0, 0)).save(tmp_path / name / "a.png")
    (shift,) = data.load(AdaptInputs(data=f"folder:{tmp_path}"), 0)
    images, labels = shift.batch(np.arange(2))
    assert labels.tolist() == [0, 1]
    assert (images[:, 0, 0, 0] * 255).round().tolist() == [10, 200]
    assert shift.input_shape == (3, 4, 5)
    assert shift.key == "clean.0"


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_does_not_depend_on_the_batch_an_image_is_in(name: str) -> None:
    (shift,) = data.load(AdaptInputs(data="digits", corrupt=[f"{name}:3"]), seed=4)
    together, _ = shift.batch(np.array([5, 6, 7]))
    alone, _ = shift.batch(np.array([6]))
    assert torch.equal(together[1:2], alone)
    assert shift.key == f"{name}.3"


def test_corruptions_on_the_fly_take_every_severity_and_name_what_they_stand_on(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "fog.npy", np.zeros((50, 8, 8, 3), np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(10))
    inputs = AdaptInputs(
        data=f"cifar10-c:{tmp_path}", severity="1,5", corrupt=["contrast", "pixelate:2"]
    )
    keys = [s.key for s in data.load(inputs, 0)]
    stacked = ["contrast.1", "contrast.5", "pixelate.2"]
    assert keys == [f"fog1+{k}" for k in stacked] + [f"fog5+{k}" for k in stacked]


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "fog"])
def test_another_seed_gives_another_draw(name: str) -> None:
    one, other = (
        data.load(AdaptInputs(corrupt=[name]), seed=s)[0].batch(np.arange(3))[0] for s in (1, 2)
    )
    assert not torch.equal(one, other)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(list(CORRUPTIONS)),
    severity=st.integers(1, 5),
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_corruptions_keep_shape_and_range(
    name: str, severity: int, height: int, width: int, channels: int, seed: int
) -> None:
    x = np.random.default_rng(seed).random((height, width, channels), dtype=np.float32)
    out = corrupt(x, name, severity, seed=seed, index=0)
    assert out.shape == x.shape
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 1
    assert np.allclose(out * 255, np.round(out * 255), atol=1e-3)


@pytest.mark.parametrize("name", DIGITS)
def test_severities_grow(name: str) -> None:
    clean, _ = data.load(AdaptInputs(corrupt=["contrast:1"]), 0)[0], None
    x = clean.images[:40]
    table = DIGITS[name]

    def damage(severity: int) -> float:
        out = [corrupt(i, name, severity, seed=0, index=k, table=table) for k, i in enumerate(x)]
        return float(np.abs(np.stack(out) - x).mean())

    levels = [damage(s) for s in range(1, 6)]
    assert levels == sorted(levels)
    assert levels[0] > 0


def test_pixelate_and_contrast_match_the_published_images() -> None:
    """The two corruptions without draws equal the data set that ships corrupted, within 8-bit steps."""
    folder = os.environ.get("KDST_TEST_DATA")
    if not folder:
        pytest.skip("KDST_TEST_DATA names no folder of real data")
    with np.load(Path(folder) / "data/cifar10-jpeg/test1000.npz") as file:
        clean = file["images"][:50] / np.float32(255)
    for name in ("pixelate", "contrast"):
        shipped = np.load(Path(folder) / f"data/cifar10-jpeg-c/{name}.npy", mmap_mode="r")
        for severity in (1, 3, 5):
            theirs = shipped[(severity - 1) * 1000 :][:50].astype(int)
            ours = np.stack([corrupt(x, name, severity, seed=0, index=0) for x in clean])
            assert np.abs(np.round(ours * 255) - theirs).max() <= 2


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 500), st.integers(1, 64), st.sampled_from(["stored", "shuffled"]))
def test_batches_cover_every_image_once_and_none_is_single(
    count: int, size: int, order: str
) -> None:
    found = cut(ordered(count, order, 3), size)
    assert sorted(np.concatenate(found).tolist()) == list(range(count))
    if size > 1 and count > 1:
        assert min(map(len, found)) > 1
    assert all(len(b) == size for b in found[:-1])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_published_severities_are_five_and_the_strongest_changes_most(name: str) -> None:
    _, *tables = CORRUPTIONS[name]
    assert [len(t) for t in tables] == [5, 5, 5]
    y, x = np.mgrid[0:32, 0:32] / 31
    photo = np.stack([0.5 + 0.4 * np.sin(12 * x + 5 * y), x * y, 0.8 - 0.6 * y], 2)
    change = [
        np.mean([np.abs(corrupt(photo, name, s, seed=0, index=k) - photo).mean() for k in range(8)])
        for s in (1, 5)
    ]
    assert change[0] > 0
    assert change[1] > 1.1 * change[0] or name == "elastic_transform"


def test_all_names_every_corruption() -> None:
    shifts = data.load(AdaptInputs(corrupt=["all"]), seed=0)
    assert [s.name for s in shifts] == list(CORRUPTIONS)
    assert len(shifts) == 15


@pytest.mark.parametrize("found", [True, False])
def test_the_digits_are_those_of_scikit_learn(found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not found:
        monkeypatch.setattr(digits, "find_spec", lambda name: None)
    scans, target = digits._scans()
    theirs = load_digits()
    assert np.array_equal(scans, theirs.images)
    assert np.array_equal(target, theirs.target)


def test_the_digits_are_read_without_importing_scikit_learn() -> None:
    code = "import sys; from kdst_adapt.default.data import load; load(True)"
    code += "; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
