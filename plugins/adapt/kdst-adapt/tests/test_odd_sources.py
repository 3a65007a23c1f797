"""Odd data: names in another case or form, links, parts of a data set, blocks, items one by one."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from kdst_adapt.audit import data as of_data
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.streams import classes, data
from kdst_adapt.streams.shift import Shift
from kdst_core.errors import KdstError

X, Y = torch.rand(8, 3, 5, 5), torch.arange(8) % 4


def tree(place: Path, names: list[str]) -> Path:
    """Folders with one small image each."""
    for name in names:
        (place / name).mkdir(parents=True)
        Image.new("RGB", (4, 4), (90, 90, 90)).save(place / name / "0.png")
    return place


def load(place: Path) -> Shift:
    """The stream of a folder."""
    return data.load(AdaptInputs(data=f"folder:{place}"), 0)[0]


def logits(
    place: Path,
    names: list[str],
    count: int,
    model: nn.Module | None = None,
    file: Path | None = None,
) -> tuple[dict[str, int], str]:
    """The logit of each folder, and the doubt about them."""
    shift = load(tree(place, names))
    (found,), _, doubt = classes.assign([shift], count, model or nn.Identity(), file)
    return dict(zip(shift.names, found.labels.tolist(), strict=True)), doubt


def test_wordnet_ids_are_known_in_any_case(tmp_path: Path) -> None:
    found, doubt = logits(tmp_path, ["N01484850", "n01440764", "N01443537_Goldfish"], 1000)
    assert found == {"N01484850": 2, "n01440764": 0, "N01443537_Goldfish": 1}
    assert not doubt


def test_accents_in_two_forms_are_one_name(tmp_path: Path) -> None:
    model = nn.Identity()
    model.classes = ["épée", "açai"]
    names = [unicodedata.normalize("NFD", n) for n in ("açai", "Épée")]
    found, _ = logits(tmp_path, names, 2, model)
    assert [found[n] for n in names] == [1, 0]


@pytest.mark.parametrize(
    ("names", "count", "message"),
    [
        ([f"kind{k}" for k in range(11)], 11, "letter by letter: kind10 before kind2"),
        (["2", "02", "0"], 3, "02 and 2 have one logit, 2"),
    ],
)
def test_orders_that_are_not_the_only_ones_are_doubted(
    tmp_path: Path, names: list[str], count: int, message: str
) -> None:
    assert message in logits(tmp_path, names, count)[1]


def test_a_thousand_other_names_are_not_taken_for_imagenets_order() -> None:
    named = {f"{k:04}x": k for k in range(1000)}
    assert "another order" in classes._doubt(classes.ALPHABETICAL, named, 1000, [])
    assert not classes._doubt(classes.ALPHABETICAL, {"ant": 0, "bee": 1}, 2, [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "\ufeffant 4\nbee 2\n"),
        ("a.json", '{"ant": "4", "bee": "2"}'),
        ("a.json", '{"ant": 4.0, "bee": 2}'),
    ],
)
def test_files_of_classes_as_other_programs_write_them(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found, doubt = logits(tmp_path / "images", ["ant", "bee"], 5, None, tmp_path / name)
    assert found == {"ant": 4, "bee": 2}
    assert not doubt


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"ant": NaN}'),
        ("a.json", '{"ant": 1e999}'),
        ("a.json", "[" * 10_000),
        ("a.json", '{"' + "1" * 5_000 + '": "ant"}'),
        ("a.txt", "ant " + "1" * 5_000),
    ],
)
def test_numbers_that_no_logit_has_are_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(KdstError, match=r"--classes .* cannot be read") as told:
        classes.read(tmp_path / name)
    assert len(str(told.value)) < 300


def test_a_file_that_counts_from_one_is_doubted_and_a_name_of_two_numbers_has_none(
    tmp_path: Path,
) -> None:
    (tmp_path / "one.txt").write_text("ant 1\nbee 2\n")
    assert "from 1 to 2" in logits(tmp_path / "a", ["ant", "bee"], 5, None, tmp_path / "one.txt")[1]
    (tmp_path / "two.json").write_text('{"0": ["x", "crane"], "1": ["y", "crane"], "2": "bee"}')
    with pytest.raises(KdstError, match=r"no logit by name \(crane\)"):
        logits(tmp_path / "b", ["crane", "bee"], 3, None, tmp_path / "two.json")


def test_links_are_followed_but_never_back(tmp_path: Path) -> None:
    tree(tmp_path, ["ant", "bee"])
    os.symlink("..", tmp_path / "ant" / "up")
    os.symlink(tmp_path / "bee", tmp_path / "cat")
    assert load(tmp_path).labels.tolist() == [0, 1, 2]


def test_parts_of_a_data_set_are_no_classes(tmp_path: Path) -> None:
    tree(tmp_path, ["train/ant", "train/bee", "Val/ant", "Val/bee"])
    with pytest.raises(KdstError, match="parts of a data set"):
        load(tmp_path)
    assert load(tmp_path / "train").labels.tolist() == [0, 1]


def test_a_grey_map_of_16_bits_keeps_its_range(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    values = np.array([0, 13107, 39321, 65535], ">u2")
    (tmp_path / "a" / "0.pgm").write_bytes(b"P5 2 2 65535\n" + values.tobytes())
    seen = load(tmp_path).pictures(np.arange(1))[0, 0].flatten()
    torch.testing.assert_close(seen, torch.tensor([0, 0.2, 0.6, 1]))


def damaged(path: Path) -> None:
    """A PNG with wrong bytes in its middle, whole at its end."""
    Image.effect_noise((40, 40), 90).save(path)
    content = bytearray(path.read_bytes())
    content[300:340] = bytes(40)
    path.write_bytes(content)


def floating(path: Path) -> None:
    """A TIFF of 32-bit floats."""
    Image.fromarray(np.ones((40, 40), np.float32)).save(path, format="TIFF")


@pytest.mark.parametrize("broken", [damaged, floating])
def test_a_later_file_that_cannot_be_read_is_refused_before_work(
    tmp_path: Path, broken: Callable[[Path], None]
) -> None:
    (tmp_path / "a").mkdir()
    Image.new("L", (40, 40)).save(tmp_path / "a" / "0.png")
    broken(tmp_path / "a" / "1.png")
    with pytest.raises(KdstError, match=r"1\.png cannot be read"):
        load(tmp_path)


def cifar(place: Path, labels: np.ndarray, **files: int) -> Path:
    """The layout of CIFAR-10-C with so many small images in each file."""
    for name, count in files.items():
        np.save(place / f"{name}.npy", np.zeros((count, 4, 4, 3), np.uint8))
    np.save(place / "labels.npy", labels)
    return place


def test_files_that_are_not_asked_for_are_not_read(tmp_path: Path) -> None:
    place = cifar(tmp_path, np.arange(2), fog=10, original=2)
    with pytest.raises(KdstError, match="give --types"):
        data.load(AdaptInputs(data=f"cifar10-c:{place}"), 0)
    (shift,) = data.load(AdaptInputs(data=f"cifar10-c:{place}", types=["fog"]), 0)
    assert shift.key == "fog.5"


@pytest.mark.parametrize("repeated", [True, False])
def test_blocks_with_labels_of_their_own_are_named(tmp_path: Path, repeated: bool) -> None:
    labels = np.tile([3, 1], 5) if repeated else np.arange(10)
    (shift,) = data.load(AdaptInputs(data=f"cifar10-c:{cifar(tmp_path, labels, fog=10)}"), 0)
    assert [n for n in shift.notes if "five wrong blocks" in n] == list(shift.notes)
    assert bool(shift.notes) is not repeated


def test_a_stream_named_twice_runs_once_and_one_found_twice_is_refused(tmp_path: Path) -> None:
    options = AdaptInputs(corrupt=["fog:5", "fog", "contrast:1-2"], severity="5")
    keys = [s.key for s in data.load(options, 0, (X, Y))]
    assert keys == ["fog.5", "contrast.1", "contrast.2"]
    tree(tmp_path, ["a/fog/5/ant", "b/fog/5/ant"])
    with pytest.raises(KdstError, match="fog more than once"):
        data.load(AdaptInputs(data=f"imagenet-c:{tmp_path}"), 0)


@pytest.mark.parametrize("severity", ["²", "1-³"])
def test_severities_are_plain_numbers(severity: str) -> None:
    with pytest.raises(KdstError, match="not understood"):
        data.parse_severities(severity)


def test_sixteen_grey_levels_are_nearly_black() -> None:
    images = np.random.default_rng(0).integers(0, 17, (9, 6, 6, 1), np.uint8)
    (finding,) = of_data.of_pixels(data.load(AdaptInputs(), 0, (images, np.arange(9))))
    assert finding.state == "warning"


def test_a_single_label_and_a_lone_array_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 4, 4, 3), np.uint8), labels=3)
    np.save(tmp_path / "b.npy", np.zeros((2, 4, 4, 3), np.uint8))
    for name, message in (("a.npz", "must be whole numbers of shape"), ("b.npy", "no whole .npz")):
        with pytest.raises(KdstError, match=message):
            data.load(AdaptInputs(data=f"npz:{tmp_path / name}"), 0)


class OneByOne(IterableDataset):
    """Items, or batches of them, without a length."""

    def __init__(self, size: int | None) -> None:
        self.size = size

    def __iter__(self):
        if self.size is None:
            return iter([(x, int(y)) for x, y in zip(X, Y, strict=True)])
        return iter(zip(X.split(self.size), Y.split(self.size), strict=True))


@pytest.mark.parametrize(
    "given",
    [
        lambda: zip(X, Y, strict=True),
        lambda: ({"image": x, "label": int(y)} for x, y in zip(X, Y, strict=True)),
        lambda: ((x.permute(1, 2, 0).numpy(), y.numpy()) for x, y in zip(X, Y, strict=True)),
        lambda: OneByOne(None),
        lambda: OneByOne(4),
        lambda: DataLoader(OneByOne(4), batch_size=None),
        lambda: DataLoader(OneByOne(None), batch_size=3),
    ],
)
def test_items_and_batches_without_a_length_give_what_the_pair_gives(
    given: Callable[[], object],
) -> None:
    (shift,) = data.load(AdaptInputs(), 0, given())
    assert torch.equal(shift.pictures(np.arange(8)), X)
    assert shift.labels.tolist() == Y.tolist()


class Loose:
    """A data set with a random label near its end, or pictures that no loader can stack."""

    def __init__(self, what: str) -> None:
        self.what, self.asked = what, 0

    def __len__(self) -> int:
        return 40

    def __getitem__(self, number: int) -> tuple[object, int]:
        self.asked += 1
        if self.what == "pictures":
            return Image.new("L", (4, 4)), 0
        return X[0] * (self.asked if self.what == "pixels" and number == 39 else 1) / 99, (
            self.asked if self.what == "label" and number == 39 else 0
        )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Loose("label"), "item 39 has another label each time"),
        (Loose("pixels"), "item 39 has other pixels each time"),
        (DataLoader(Loose("pictures"), batch_size=4), "TypeError: default_collate"),
    ],
)
def test_what_is_random_or_fails_late_is_told(given: object, message: str) -> None:
    with pytest.raises(KdstError, match=message):
        data.load(AdaptInputs(), 0, given)


@pytest.mark.parametrize("images", [X.to_sparse(), X.to("meta")], ids=["sparse", "meta"])
def test_tensors_without_plain_values_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(KdstError, match="give dense tensors of plain numbers"):
        data.load(AdaptInputs(), 0, (images, Y))


def test_photographs_that_a_camera_turned_are_counted(tmp_path: Path) -> None:
    turned, place = Image.Exif(), tree(tmp_path, ["ant", "bee"])
    turned[0x0112] = 6
    picture = Image.new("RGB", (4, 4), (90, 90, 90))
    for name in ("a.jpg", "b.png", "c.tif"):
        picture.save(place / "bee" / name, exif=turned)
    picture.save(place / "bee" / "d.jpg", exif=Image.Exif())
    lying, upright = load(place).notes
    assert lying.startswith(f"{place}: 2 of 6 images were taken with the camera turned (EXIF)")
    assert upright.startswith(f"{place}: 1 of 6 images are TIFF")


def test_turned_photographs_of_imagenet_c_are_counted_among_those_taken(tmp_path: Path) -> None:
    turned, place = Image.Exif(), tree(tmp_path / "fog/5", ["ant", "bee"])
    turned[0x0112] = 3
    Image.new("RGB", (4, 4)).save(place / "bee/a.jpg", exif=turned)
    for images, notes in ((2, 0), (3, 1)):
        shifts = data.load(AdaptInputs(data=f"imagenet-c:{tmp_path}", images=images), 0)
        assert len(shifts[0].notes) == notes


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_among_images_is_not_waited_for(tmp_path: Path) -> None:
    place = tree(tmp_path, ["ant", "bee"])
    os.mkfifo(place / "ant" / "1.png")
    assert load(place).labels.tolist() == [0, 1]


def test_a_jpeg_2000_file_that_is_damaged_inside_is_named_before_work(tmp_path: Path) -> None:
    place = tree(tmp_path, ["ant", "bee"])
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(place / "bee" / "1.jp2")
    whole = (place / "bee" / "1.jp2").read_bytes()
    (place / "bee" / "1.jp2").write_bytes(whole[: len(whole) // 2] + whole[-2:])
    with pytest.raises(KdstError, match=r"1\.jp2 cannot be read"):
        load(place)
