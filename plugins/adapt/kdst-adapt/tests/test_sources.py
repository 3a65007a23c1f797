"""Data as users have them: class folders, labels by name, pixels of other types, objects of torch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from attrs import evolve
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from kdst_adapt.corruptions import blur, digital, kept
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.streams import classes, data, folders
from kdst_adapt.streams.shift import Shift
from kdst_core.errors import KdstError


def tree(place: Path, names: list[str], each: int = 2, side: int = 6) -> Path:
    """Folders of grey images whose brightness is 20 times the number of their class."""
    for number, name in enumerate(names):
        (place / name).mkdir(parents=True)
        for k in range(each):
            Image.new("RGB", (side, side), (20 * number,) * 3).save(place / name / f"{k}.png")
    return place


def load(place: Path, **options: object) -> Shift:
    """The stream of a folder."""
    return data.load(AdaptInputs(data=f"folder:{place}", **options), 0)[0]


def labels(shift: Shift, count: int, model: nn.Module | None = None, file: object = None):
    """The set of logits that the classes get."""
    (found,), how, doubt = classes.assign([shift], count, model or nn.Identity(), file)
    return list(dict.fromkeys(found.labels.tolist())), how, doubt


def test_what_is_hidden_is_skipped_and_what_is_not_read_is_counted(tmp_path: Path) -> None:
    tree(tmp_path, ["ant", "bee"])
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "ant" / "._0.png").write_bytes(b"no image")
    (tmp_path / "bee" / "readme.txt").write_text("-")
    (tmp_path / "bee" / "inner").mkdir()
    Image.new("L", (6, 6)).save(tmp_path / "bee" / "inner" / "deep.tif")
    shift = load(tmp_path)
    assert shift.labels.tolist() == [0, 0, 1, 1, 1]
    hidden, other = shift.notes
    assert "3 hidden" in hidden
    assert "1 .txt" in other


def test_an_empty_class_is_an_error(tmp_path: Path) -> None:
    tree(tmp_path, ["ant", "bee"])
    (tmp_path / "cat").mkdir()
    with pytest.raises(KdstError, match="no images in the folder of class cat"):
        load(tmp_path)


def test_images_are_taken_across_classes(tmp_path: Path) -> None:
    shift = load(tree(tmp_path, ["a", "b", "c"], each=10), images=6)
    assert np.bincount(shift.labels).tolist() == [2, 2, 2]
    images, found = shift.batch(np.arange(6))
    assert torch.equal((images[:, 0, 0, 0] * 255 / 20).round().long(), found)


def test_first_images_of_a_sorted_array_are_taken_across_classes_with_a_word() -> None:
    images, sorted_ones = np.zeros((30, 4, 4, 3), np.uint8), np.repeat([0, 1, 2], 10)
    (shift,) = data.load(AdaptInputs(images=6), 0, (images, sorted_ones))
    assert np.bincount(shift.labels).tolist() == [2, 2, 2]
    assert "hold 1 of 3 classes" in shift.notes[0]
    (shift,) = data.load(AdaptInputs(images=6), 0, (images, np.arange(30) % 3))
    assert shift.rows is not None
    assert shift.rows.tolist() == [*range(6)]
    assert not shift.notes


def test_order_is_shuffled_for_folders_only() -> None:
    assert data.order(AdaptInputs(data="folder:x")) == "shuffled"
    assert data.order(AdaptInputs(data="folder:x", order="stored")) == "stored"
    assert data.order(AdaptInputs(data="npz:x")) == "stored"


def test_wordnet_ids_have_imagenets_logits(tmp_path: Path) -> None:
    shift = load(tree(tmp_path, ["n01494475", "n01518878_ostrich", "n15075141"]))
    assert labels(shift, 1000)[0] == [4, 9, 999]
    assert labels(shift, 3)[0] == [0, 1, 2]


def test_names_of_the_model_numbers_and_a_file_give_logits(tmp_path: Path) -> None:
    model = nn.Identity()
    model.class_names = ["Great White, shark", "tree frog", "ant"]
    shift = load(tree(tmp_path / "names", ["ant", "great_white"]))
    assert labels(shift, 3, model)[0] == [2, 0]
    assert labels(load(tree(tmp_path / "numbers", ["10", "2"])), 11)[0] == [10, 2]
    file = tmp_path / "classes.txt"
    file.write_text("ant 7\ngreat_white 5\n")
    assert labels(shift, 10, file=file)[0] == [7, 5]
    file.write_text("ant 10\ngreat_white 5\n")
    with pytest.raises(KdstError, match="'ant' has label 10"):
        labels(shift, 10, file=file)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("class_to_idx", {"ant": 2, "bee": 1, "cat": 0}),
        ("idx_to_class", {0: "cat", 1: "bee", 2: "ant"}),
        ("classes", ("cat", "bee", "ant")),
    ],
)
def test_labels_that_a_model_carries_give_logits(
    tmp_path: Path, attribute: str, value: object
) -> None:
    model = nn.Identity()
    setattr(model, attribute, value)
    shift = load(tree(tmp_path, ["ant", "bee", "cat"]))
    assert labels(shift, 3, model) == ([2, 1, 0], "3 class folders have their logits by"
                                       " the model's own names.", "")  # fmt: skip


def test_a_label_of_two_logits_gives_none(tmp_path: Path) -> None:
    model = nn.Identity()
    model.class_names = ["crane", "bee", "crane", "ant"]
    with pytest.raises(KdstError, match=r"no logit by name \(crane\)"):
        labels(load(tree(tmp_path, ["ant", "bee", "crane"])), 4, model)


@pytest.mark.parametrize(
    "text", ["cat,0\nbee,1\nant,2\n", "class,index\ncat,0\nbee,1\nant,2\n", "0 cat\n1 bee\n2 ant\n"]
)
def test_lines_of_names_and_numbers_in_either_order(tmp_path: Path, text: str) -> None:
    file = tmp_path / "classes.txt"
    file.write_text(text)
    assert classes.read(file) == {"cat": 0, "bee": 1, "ant": 2}


def test_folders_that_may_be_misnumbered_are_doubted(tmp_path: Path) -> None:
    one_based = load(tree(tmp_path / "a", ["1", "2", "3"]))
    assert "numbered from 1 to 3" in labels(one_based, 10)[2]
    model = nn.Identity()
    model.class_names = ["Hund", "Katze"]
    assert (
        "no labels of the model (Hund, Katze)"
        in labels(load(tree(tmp_path / "b", ["cat", "dog"])), 2, model)[2]
    )


def test_wordnet_ids_stand_after_the_background_class_where_there_is_one(tmp_path: Path) -> None:
    shift = load(tree(tmp_path, ["n01440764", "n01443537"]))
    assert labels(shift, 1001)[0] == [1, 2]


def test_unknown_names_of_fewer_classes_are_doubted(tmp_path: Path) -> None:
    shift = load(tree(tmp_path, ["ant", "bee"]))
    assert "--classes FILE" in labels(shift, 5)[2]
    assert labels(shift, 2)[2] == ""


def test_sixteen_bits_keep_their_range_and_photographs_are_brought_to_size(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(np.full((8, 12), 32896, np.uint16)).save(tmp_path / "a" / "deep.png")
    Image.new("RGB", (40, 20), (10, 20, 30)).save(tmp_path / "a" / "wide.jpg")
    images, _ = load(tmp_path, resize=6, crop=4).batch(np.arange(2))
    assert images.shape == (2, 3, 4, 4)
    assert (images[0] * 255).round().unique().tolist() == [128]


def test_a_file_cut_short_is_refused_before_any_work(tmp_path: Path) -> None:
    tree(tmp_path, ["a"])
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a" / "z.png")
    whole = (tmp_path / "a" / "z.png").read_bytes()
    (tmp_path / "a" / "z.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(KdstError, match=r"z\.png cannot be read"):
        load(tmp_path, crop=6)


def test_crop_larger_than_resize_and_sizes_of_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KdstError, match="--crop 9 is larger than --resize 8"):
        load(tmp_path, resize=8, crop=9)
    with pytest.raises(KdstError, match="--resize is for folder"):
        data.load(AdaptInputs(resize=8), 0)


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_corrupted_arrays_of_other_types_are_scaled_or_refused(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "fog.npy", np.full((10, 4, 4, 3), 51, dtype))
    np.save(tmp_path / "labels.npy", np.array([[0], [1]]))
    inputs = AdaptInputs(data=f"cifar10-c:{tmp_path}")
    if dtype is np.float32:
        with pytest.raises(KdstError, match=r"fog\.npy: pixels reach from 51 to 51"):
            data.load(inputs, 0)
        return
    images, found = data.load(inputs, 0)[0].batch(np.arange(2))
    assert images.unique().tolist() == pytest.approx([0.2])
    assert found.tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(3, 5, 7), (3, 1, 5, 7), (3, 5, 7, 1)])
@pytest.mark.parametrize("tensor", [True, False])
def test_axes_are_told_apart(shape: tuple[int, ...], tensor: bool) -> None:
    x = np.zeros(shape, np.float32)
    given = (torch.tensor(x) if tensor else x, np.arange(3))
    assert data.load(AdaptInputs(), 0, given)[0].input_shape == (1, 5, 7)


def test_a_data_set_and_a_loader_give_what_the_pair_gives() -> None:
    x = torch.rand(7, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    pairs = TensorDataset(x, torch.arange(7))
    for given in (pairs, DataLoader(pairs, batch_size=3), [(i, k) for k, i in enumerate(x)]):
        images, found = data.load(AdaptInputs(images=5), 0, given)[0].batch(np.array([4, 1]))
        assert torch.equal(images, x[[4, 1]])
        assert found.tolist() == [4, 1]
    with pytest.raises(KdstError, match="normalisation"):
        data.load(AdaptInputs(), 0, TensorDataset(x - 0.5, torch.arange(7)))


def test_one_severity_with_numbered_classes_is_found(tmp_path: Path) -> None:
    for name in ("noise/shot_noise", "fog"):
        tree(tmp_path / name / "5", ["1", "10", "2"], each=1)
    shifts = data.load(AdaptInputs(data=f"imagenet-c:{tmp_path}"), 0)
    assert sorted(s.key for s in shifts) == ["fog.5", "shot_noise.5"]
    assert classes.assign(shifts, 11, nn.Identity(), None)[0][0].labels.tolist() == [1, 10, 2]
    with pytest.raises(KdstError, match="no severity 3; it has 5"):
        data.load(AdaptInputs(data=f"imagenet-c:{tmp_path}", severity="3"), 0)


def test_a_large_image_is_corrupted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDST_CACHE", str(tmp_path))
    x = np.random.default_rng(0).random((2, 128, 130, 3), np.float32)
    how = {"seed": 3, "places": np.array([0, 4]), "table": None}
    first = kept.batch(x, "fog", 3, **how)
    assert kept.KEPT.line().startswith("corrupted images: 2 made, 0 from an earlier run")
    monkeypatch.setattr(kept, "KEPT", kept.Kept())
    monkeypatch.delattr(kept.corrupt, "corrupt")
    assert np.array_equal(kept.batch(x, "fog", 3, **how), first)
    assert "0 made, 2 from an earlier run; the cache in " in kept.KEPT.line()


def test_sixty_four_pixels_have_their_own_parameters() -> None:
    tables = [kept.corrupt.severities("gaussian_noise", (s, s, 3)) for s in (32, 64, 224)]
    assert [t[4] for t in tables] == [(0.1,), (0.18,), (0.38,)]


def test_hidden_names() -> None:
    assert folders.hidden("._0.png")
    assert not folders.hidden("0.png")


def test_smearing_and_enlarging_equal_interpolation_point_by_point() -> None:
    from scipy.ndimage import map_coordinates, shift

    from kdst_adapt.corruptions.enlarge import enlarged as enlarge

    x = np.random.default_rng(0).random((30, 21, 2))
    weights = np.exp(-(np.arange(9) ** 2) / 18)
    parts = [shift(x, (0.6 * k, 0.8 * k, 0), order=1, mode="nearest") for k in range(9)]
    wanted = np.tensordot(weights / weights.sum(), np.stack(parts), 1)
    assert np.allclose(blur.smear(x, 4, 3, np.rad2deg(np.arctan2(0.6, 0.8))), wanted, atol=1e-12)
    axes = [(np.arange(n) - (n - 1) / 2) / 1.7 + (n - 1) / 2 for n in (30, 21)]
    grid = np.meshgrid(*axes, indexing="ij")
    enlarged = map_coordinates(x[..., 0], grid, order=1, mode="nearest")
    assert np.allclose(enlarge(x, 1.7)[..., 0], enlarged, atol=1e-12)


def test_wide_disks_and_wide_smoothing_equal_the_direct_sums() -> None:
    from scipy.ndimage import convolve, gaussian_filter

    x = np.random.default_rng(0).random((40, 33, 3))
    disk = blur._disk(8, 0.5)
    wanted = convolve(x, disk[:, :, None], mode="mirror")
    assert np.allclose(blur.defocus_blur(x, (8, 0.5), None), wanted, atol=1e-12)
    smooth = gaussian_filter(x[..., 0], 20, mode="reflect", truncate=3)
    assert np.allclose(digital._smooth(x[..., 0], 20), smooth, atol=1e-12)


def test_imagenet_c_is_found_below_further_folders_and_beside_other_files(tmp_path: Path) -> None:
    tree(tmp_path / "ImageNet-C" / "weather" / "fog" / "5", ["a", "b"])
    (tmp_path / "ImageNet-C" / "weather" / "fog" / "notes").mkdir()
    (shift,) = data.load(AdaptInputs(data=f"imagenet-c:{tmp_path}"), 0)
    assert (shift.key, len(shift.labels)) == ("fog.5", 4)


def test_a_damaged_image_of_imagenet_c_is_told_before_work(tmp_path: Path) -> None:
    tree(tmp_path / "fog" / "5", ["a", "b"], each=2)
    broken = sorted((tmp_path / "fog" / "5" / "b").iterdir())[-1]
    broken.write_bytes(broken.read_bytes()[:60])
    given = AdaptInputs(data=f"imagenet-c:{tmp_path}")
    with pytest.raises(KdstError, match=f"{broken.name} cannot be read as an image"):
        data.load(given, 0)
    (shift,) = data.load(evolve(given, images=2), 0)
    assert len(shift.labels) == 2


class Broken:
    """A data set with an item that cannot be read."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        if number == 2:
            raise OSError("no such photograph")
        return torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(number)), 0


class Random(Broken):
    """A data set with a random transform."""

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        return torch.rand(3, 4, 4), 0


@pytest.mark.parametrize(
    ("given", "message"),
    [(Broken(), "item 2: OSError: no such photograph"), (Random(), "other pixels each time")],
)
def test_what_is_wrong_with_a_data_set_is_told(given: object, message: str) -> None:
    with pytest.raises(KdstError, match=message):
        data.load(AdaptInputs(), 0, given)


def test_batches_of_any_kind_are_gone_through_once() -> None:
    x, y = torch.rand(8, 3, 4, 4), torch.arange(8) % 3
    pairs = [(x[k : k + 4], y[k : k + 4]) for k in (0, 4)]
    for given in (pairs, iter(pairs), ([*x], y.tolist())):
        (shift,) = data.load(AdaptInputs(), 0, given)
        assert torch.equal(shift.pictures(np.arange(8)), x)
        assert shift.labels.tolist() == y.tolist()
