"""Bad input to the adapt bench: one or two lines, exit code 2, nothing written."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdst_core
from kdst_adapt.models.resnet import ResNet
from kdst_core.errors import KdstError


def images(count: int = 20, size: int = 8, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def npz(path: Path, x: np.ndarray, y: object) -> str:
    np.savez(path, images=x, labels=y)
    return f"npz:{path}"


class Net(nn.Module):
    """A small network with BatchNorm and four classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.bn(self.conv(x)).mean((2, 3)))


def refused(tmp_path: Path, match: str, method: str = "norm", **options: object) -> None:
    out = tmp_path / "run"
    with pytest.raises(KdstError, match=match) as caught:
        kdst_core.run(method, out=out, **options)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) <= 2
    assert not out.exists()


def test_missing_weights(tmp_path: Path) -> None:
    refused(tmp_path, "does not exist", model="resnet20", data="digits", weights=tmp_path / "no.pt")


def test_built_in_network_without_weights(tmp_path: Path) -> None:
    refused(tmp_path, "needs --weights", model="resnet20")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_unreadable_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights at all")
    refused(tmp_path, "cannot be read", model="resnet20", weights=tmp_path / name)


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    torch.save(Net(), tmp_path / "model.pt")
    refused(tmp_path, "cannot be read", model="resnet20", weights=tmp_path / "model.pt")


def test_weights_of_another_network_name_the_first_mismatches(tmp_path: Path) -> None:
    torch.save(ResNet(5).state_dict(), tmp_path / "w.pt")
    match = r"unexpected: layer1.3.bn1.bias.* and \d+ more"
    refused(tmp_path, match, model="resnet20", weights=tmp_path / "w.pt")


def test_weights_of_another_shape_name_both_shapes(tmp_path: Path) -> None:
    state = {**ResNet(3).state_dict(), "conv1.weight": torch.zeros(16, 1, 3, 3)}
    torch.save(state, tmp_path / "w.pt")
    match = r"shape: conv1.weight is \(16, 1, 3, 3\), the model has \(16, 3, 3, 3\)"
    refused(tmp_path, match, model="resnet20", weights=tmp_path / "w.pt")


def test_labels_beyond_the_models_classes(tmp_path: Path) -> None:
    data = npz(tmp_path / "d.npz", images(), np.arange(20))
    refused(tmp_path, "label 19 .* 4 classes", model=Net(), data=data)


def test_negative_labels(tmp_path: Path) -> None:
    data = npz(tmp_path / "d.npz", images(), np.arange(20) - 1)
    refused(tmp_path, "label -1 is below 0", model=Net(), data=data)


def test_labels_that_are_no_whole_numbers(tmp_path: Path) -> None:
    data = npz(tmp_path / "d.npz", images(), np.zeros(20))
    refused(tmp_path, "labels must be whole numbers", model=Net(), data=data)


def test_nan_pixels(tmp_path: Path) -> None:
    x = images() / np.float32(255)
    x[7, 0, 0, 0] = np.nan
    data = npz(tmp_path / "d.npz", x, np.zeros(20, int))
    refused(tmp_path, "image 7 has NaN", model=Net(), data=data)


def test_pixels_beyond_one(tmp_path: Path) -> None:
    data = npz(tmp_path / "d.npz", images().astype(np.float32), np.zeros(20, int))
    refused(tmp_path, r"floats must be in \[0, 1\]", model=Net(), data=data)


def test_a_file_cut_short(tmp_path: Path) -> None:
    npz(tmp_path / "d.npz", images(), np.zeros(20, int))
    whole = (tmp_path / "d.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path, "cut short", model=Net(), data=f"npz:{tmp_path / 'd.npz'}")


def test_an_array_cut_short(tmp_path: Path) -> None:
    np.save(tmp_path / "fog.npy", images(50))
    np.save(tmp_path / "labels.npy", np.zeros(50, int))
    whole = (tmp_path / "fog.npy").read_bytes()
    (tmp_path / "fog.npy").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path, "cut short", model=Net(), data=f"cifar10-c:{tmp_path}")


def test_labels_that_do_not_fit_the_images(tmp_path: Path) -> None:
    np.save(tmp_path / "fog.npy", images(50))
    np.save(tmp_path / "labels.npy", np.zeros(7, int))
    refused(tmp_path, "7 labels for 10 images", model=Net(), data=f"cifar10-c:{tmp_path}")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    refused(tmp_path, "holds no images", model=Net(), data=f"folder:{tmp_path / 'pictures'}")


def test_images_of_another_size_in_a_folder(tmp_path: Path) -> None:
    for number, size in enumerate((8, 8, 9)):
        folder = tmp_path / "pictures" / f"class{number}"
        folder.mkdir(parents=True)
        Image.new("RGB", (size, 8)).save(folder / "a.png")
    match = "has 9×8 pixels, a.png has 8×8"
    refused(tmp_path, match, model=Net(), data=f"folder:{tmp_path / 'pictures'}")


def test_images_the_model_does_not_take(tmp_path: Path) -> None:
    data = npz(tmp_path / "d.npz", images(channels=1), np.zeros(20, int))
    refused(tmp_path, "does not take images of 1×8×8", model=Net(), data=data)


def test_a_batch_of_one_without_any_statistics(tmp_path: Path) -> None:
    data = npz(tmp_path / "d.npz", images(), np.zeros(20, int))
    layers = [nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)]
    options = {"model": nn.Sequential(*layers), "data": data, "batch_size": 1}
    refused(tmp_path, "batch of one image.*\n.*--batch-size 2", "tent", **options)


def test_a_model_without_normalisation_layers(tmp_path: Path) -> None:
    data = npz(tmp_path / "d.npz", images(), np.zeros(20, int))
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    refused(tmp_path, "nothing to adapt", "tea", model=model, data=data)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"data": "cifar10c:x"}, "Did you mean 'cifar10-c'"),
        ({"data": "npz"}, "is not understood"),
        ({"severity": "6"}, "severities go from 1 to 5"),
        ({"severity": "3-1"}, "runs backwards"),
        ({"severity": "hard"}, "give 5, 1-5 or 1,3,5"),
        ({"corrupt": ["fgo:3"]}, "no corruption 'fgo'.*Did you mean 'fog'"),
        ({"types": ["contrats"]}, "Did you mean 'contrast'"),
        ({"images": 10**6}, "has only 797 images"),
        ({"model": "resnet21"}, "Did you mean .*'resnet20'"),
        ({"model": "no.such:thing"}, "ModuleNotFoundError"),
        ({"mean": [0.5]}, "--mean and --std together"),
        ({"device": "cuda:99"}, "cannot be used"),
        ({"source": "here"}, "give npz:FILE"),
        ({"weights": "x.pt"}, "--weights needs --model"),
        ({"batchsize": 3}, "Did you mean 'batch_size'"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: dict[str, object], match: str) -> None:
    refused(tmp_path, match, **options)
