"""LPIPS on random weights, against the same nets written with torch's own modules."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdst_core.errors import KdstError
from kdst_reconstruct.measures import lpips

VGG_BLOCKS = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512]
VGG_TAPS, ALEX_TAPS = (3, 8, 15, 22, 29), (1, 4, 7, 9, 11)


def vgg_modules() -> nn.Sequential:
    """The layers of torchvision's vgg16.features that LPIPS sees, with their indices."""
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG_BLOCKS:
        if width == "M":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        assert isinstance(width, int)
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers)


def alex_modules() -> nn.Sequential:
    """The layers of torchvision's alexnet.features that LPIPS sees, with their indices."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )


def plain_distance(
    modules: nn.Sequential, taps: tuple[int, ...], heads: dict[str, Any], a: Any, b: Any
) -> float:
    """Equation 1 of the paper, one layer after the other, on images normalised as for ImageNet."""
    mean, spread = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    total = 0.0
    features = []
    for image in (a, b):
        x = torch.from_numpy((image.numpy() - mean) / spread).float().permute(2, 0, 1)[None]
        found = []
        for number, module in enumerate(modules):
            x = module(x)
            if number in taps:
                found.append(x[0].detach().double().numpy())
        features.append(found)
    for number, (one, other) in enumerate(zip(*features, strict=True)):
        one, other = (f / np.linalg.norm(f, axis=0, keepdims=True) for f in (one, other))
        weight = heads[f"lin{number}.model.1.weight"].double().numpy()[0, :, 0, 0]
        total += (weight[:, None, None] * (one - other) ** 2).sum(0).mean()
    return float(total)


def random_weights(modules: nn.Sequential, taps: tuple[int, ...]) -> Any:
    """Weights under the names of torchvision's and lpips' files."""
    torch.manual_seed(3)
    for module in modules:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.normal_(module.bias, std=0.1)
    backbone = {f"features.{name}": v.detach() for name, v in modules.state_dict().items()}
    widths = [modules[tap - 1].out_channels for tap in taps]
    heads = {f"lin{k}.model.1.weight": torch.rand(1, w, 1, 1) for k, w in enumerate(widths)}
    return backbone, heads


def net(name: str) -> Any:
    modules, taps = (vgg_modules(), VGG_TAPS) if name == "vgg" else (alex_modules(), ALEX_TAPS)
    return modules, taps, *random_weights(modules, taps)


@pytest.mark.parametrize("name", ["vgg", "alex"])
def test_lpips_is_the_formula_of_the_paper(name: str) -> None:
    modules, taps, backbone, heads = net(name)
    one, other = torch.rand(2, 40, 56, 3, generator=torch.Generator().manual_seed(1))
    expected = plain_distance(modules, taps, heads, one, other)
    measure = lpips.Lpips(name, backbone, heads)
    assert expected > 0.01
    assert measure.distance(one, other) == pytest.approx(expected, rel=1e-4)
    assert measure.distance(one, one) == 0


def test_weights_are_read_from_a_folder_in_both_formats(tmp_path: Path) -> None:
    *_, backbone, heads = net("alex")
    torch.save(backbone, tmp_path / "alexnet-owt-7be5be79.pth")
    save_file(heads, tmp_path / "alex.safetensors")
    found, name = lpips.find(str(tmp_path), 100)
    assert name == "alex"
    assert found is not None
    assert torch.equal(found.heads["lin0.model.1.weight"], heads["lin0.model.1.weight"])


def test_auto_looks_where_torch_keeps_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, backbone, heads = net("alex")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    measure, reason = lpips.find("auto", 100)
    assert measure is None
    assert "vgg16*.pth with vgg.pth" in reason
    torch.save(backbone, folder / "alexnet-owt-7be5be79.pth")
    torch.save(heads, folder / "alex.pth")
    assert lpips.find("auto", 100)[1] == "alex"


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    assert lpips.find("none", 100) == (None, "not asked for")
    assert lpips.find("auto", 20)[1] == "it needs 32 pixels a side, and a view has 20"
    with pytest.raises(KdstError, match="no such folder"):
        lpips.find(str(tmp_path / "nowhere"), 100)
    with pytest.raises(KdstError, match=r"no weights in .*vgg16\*.pth"):
        lpips.find(str(tmp_path), 100)


class Evil:
    """A pickle that would run code."""

    def __reduce__(self) -> Any:
        return print, ("ran",)


def test_weights_that_run_code_or_do_not_fit_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *_, backbone, heads = net("alex")
    torch.save({"features.0.weight": Evil()}, tmp_path / "alexnet.pth")
    torch.save(heads, tmp_path / "alex.pth")
    with pytest.raises(KdstError, match=r"cannot read the weights .*alexnet.pth"):
        lpips.find(str(tmp_path), 100)
    assert capsys.readouterr().out == ""
    torch.save(backbone | {"features.3.weight": torch.zeros(1)}, tmp_path / "alexnet.pth")
    with pytest.raises(KdstError, match=r"features.3.weight is of shape \(1,\)"):
        lpips.find(str(tmp_path), 100)


def test_the_time_of_a_distance_is_taken_by_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, backbone, heads = net("alex")
    measure = lpips.Lpips("alex", backbone, heads)
    ticks = iter([10.0, 10.5])
    monkeypatch.setattr(lpips.time, "perf_counter", lambda: next(ticks))
    assert measure.seconds_a_pixel() == pytest.approx(0.5 / 64**2)
