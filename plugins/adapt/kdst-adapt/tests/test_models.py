"""Models and data beyond the CIFAR residual networks: wide, transformers, group norm, ImageNet-C."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdst_core
from kdst_adapt.checks import small_batches, small_network, small_request
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.models import classifier
from kdst_adapt.models.imagenet_resnet import LAYERS, ImageNetResNet
from kdst_adapt.models.wideresnet import WideResNet
from kdst_authors.testing import make_run
from kdst_core.contracts import AdaptRequest
from kdst_core.errors import KdstError
from kdst_core.plugins import registry
from kdst_core.plugins.method import load

METHODS = [
    p.name
    for p in registry.discover()
    if p.capability == "adapt" and "text" not in load(p.name).description.needs
]
"""Methods of classifiers; those that need a tower for text are tested on models that have one."""


def group_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2),
        nn.GroupNorm(2, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(8),
        nn.Linear(8, 5),
    ).eval()  # fmt: skip


def vit(folder: Path) -> str:
    """Save a small random vision transformer and return its directory."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=8, patch_size=4, num_labels=5,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    text = '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}'
    (folder / "preprocessor_config.json").write_text(text)
    return f"transformers:{folder}"


def adapts(name: str, model: nn.Module, folder: Path) -> None:
    """A method runs on a model, and changes its logits where it has something to update."""
    method = load(name)
    fast = {"sgld_steps": 2, "buffer_size": 20} if name == "tea" else {}
    open_filter = {"margin": 1.0} if name in ("eta", "eata", "sar", "rdumb") else {}
    open_filter = {"threshold": 0.0} if name in ("pl", "shot") else open_filter
    open_filter = {"tau_ent": 2.0, "tau_plpd": -1.0} if name == "deyo" else open_filter
    open_filter = {"update_frequency": 8} if name == "rotta" else open_filter
    options = method.description.options(**fast, **open_filter)
    batches, request = small_batches(3), small_request()
    request = AdaptRequest(model, 5, (3, 8, 8), request.generator, request.source)
    predictor = method.call(request, options, make_run(folder))
    first = predictor.predict(batches[0])
    for x in batches:
        assert predictor.predict(x).isfinite().all()
    updated = "gradients" in method.description.needs or name in ("foa", "tda")
    assert bool((predictor.predict(batches[0]) != first).any()) == updated
    predictor.reset()
    assert torch.equal(predictor.predict(batches[0]), first)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_adapts_group_and_layer_norm(name: str, tmp_path: Path) -> None:
    adapts(name, group_network(), tmp_path)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_adapts_a_vision_transformer(name: str, tmp_path: Path) -> None:
    adapts(name, classifier.load(AdaptInputs(model=vit(tmp_path / "vit"))), tmp_path / "run")


@pytest.mark.parametrize("name", METHODS)
def test_memory_is_constant_over_200_batches(name: str, tmp_path: Path) -> None:
    from kdst_adapt.checks import _tensor_bytes

    method = load(name)
    cheap: dict[str, dict[str, int]] = {
        "tea": {"sgld_steps": 1, "buffer_size": 50},
        "memo": {"augmentations": 4},
        "cotta": {"augmentations": 4},
        "zero": {"views": 2},
    }
    options = cheap.get(name, {})
    request = small_request(model=small_network())
    predictor = method.call(request, method.description.options(**options), make_run(tmp_path))
    # MEMO makes a step for every image
    batches = [x[:2] if name == "memo" else x for x in small_batches(4)]
    sizes = []
    for number in range(200):
        predictor.predict(batches[number % 4])
        if number in (20, 199):
            sizes.append(_tensor_bytes(predictor) + _resident() // 2**23 * 2**23)
    assert sizes[1] - sizes[0] <= 2**23


def _resident() -> int:
    """Return the bytes of this process in memory."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def test_a_transformers_directory_brings_its_normalisation(tmp_path: Path) -> None:
    model = classifier.load(AdaptInputs(model=vit(tmp_path)))
    x = torch.rand(2, 3, 8, 8)
    expected = model.net.net(pixel_values=(x - 0.5) / 0.25).logits
    assert torch.allclose(model(x), expected, atol=1e-6)
    with pytest.raises(KdstError, match="cannot be read"):
        classifier.load(AdaptInputs(model=f"transformers:{tmp_path / 'none'}"))


def test_wrn_28_10_has_the_published_size_and_layout(tmp_path: Path) -> None:
    with torch.device("meta"):
        net = WideResNet()
    assert sum(p.numel() for p in net.parameters()) == 36_479_194
    names = set(net.state_dict())
    assert {"block1.layer.0.convShortcut.weight", "block3.layer.3.bn2.weight", "fc.bias"} <= names
    assert "block1.layer.1.convShortcut.weight" not in names
    small = WideResNet(10, 1, 7).eval()
    assert small(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    with pytest.raises(KdstError, match="needs --weights"):
        classifier.load(AdaptInputs(model="wrn-28-10"))


@pytest.mark.parametrize(("name", "size"), [("resnet18", 11_689_512), ("resnet50", 25_557_032)])
def test_imagenet_networks_have_the_public_size_and_names(name: str, size: int) -> None:
    with torch.device("meta"):
        net = ImageNetResNet(name)
    assert sum(p.numel() for p in net.parameters()) == size
    names = set(net.state_dict())
    assert {"layer2.0.downsample.1.weight", "layer4.1.bn2.running_var", "fc.bias"} <= names
    assert ("layer1.0.downsample.0.weight" in names) == (name == "resnet50")


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_imagenet_networks_compute_what_transformers_does(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    deep, wide = name == "resnet50", 4 if name == "resnet50" else 1
    config = transformers.ResNetConfig(
        embedding_size=64, hidden_sizes=[64 * wide << k for k in range(4)],
        depths=list(LAYERS[name]), layer_type="bottleneck" if deep else "basic", num_labels=7,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.ResNetForImageClassification(config).eval()
    ours = ImageNetResNet(name, 7).eval()
    # both hold stem, blocks (in transformers the shortcut comes first) and head in order
    ours.load_state_dict(
        dict(zip(_shortcut_first(ours.state_dict()), theirs.state_dict().values(), strict=True))
    )
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs(x).logits, rtol=1e-4, atol=1e-5)


def _shortcut_first(names: Iterable[str]) -> list[str]:
    """Order the names of a state dict as transformers does: each block's shortcut first."""
    found: list[str] = []
    for block, group in groupby(names, lambda n: n.split(".")[:2] if n[0] == "l" else n):
        mine = list(group)
        found += sorted(mine, key=lambda n: "downsample" not in n) if block[0] != "fc" else mine
    return found


def test_robustbench_weights_bring_their_normalisation(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = WideResNet(16, 1, 7).eval()
    scale = {"mu": torch.full((1, 3, 1, 1), 0.5), "sigma": torch.full((1, 3, 1, 1), 0.25)}
    state = {f"module.{k}": v for k, v in {**net.state_dict(), **scale}.items()}
    torch.save({"state_dict": state}, tmp_path / "w.pt")
    model = classifier.load(AdaptInputs(model="wrn-16-1", weights=tmp_path / "w.pt"))
    x = torch.rand(2, 3, 32, 32)
    assert torch.allclose(model(x), net((x - 0.5) / 0.25))
    plain = {f"model.{k}": v for k, v in net.state_dict().items()}
    wrapped = {f"normalize.{k}": torch.full((3,), v) for k, v in (("mean", 0.5), ("std", 0.25))}
    torch.save({**plain, **wrapped}, tmp_path / "n.pt")
    model = classifier.load(AdaptInputs(model="wrn-16-1", weights=tmp_path / "n.pt"))
    assert torch.allclose(model(x), net((x - 0.5) / 0.25))
    with pytest.raises(KdstError, match="depth must be"):
        classifier.load(AdaptInputs(model="wrn-17-1", weights=tmp_path / "w.pt"))


def test_the_imagenet_c_layout_is_read_file_by_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for place in (
        "noise/gaussian_noise/5/n01",
        "noise/gaussian_noise/5/n02",
        "fog/5/n01",
        "fog/5/n02",
    ):
        (tmp_path / place).mkdir(parents=True)
        for k in range(3):
            pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / place / f"{k}.JPEG")
    for place in ("noise/gaussian_noise/1", "fog/1"):
        (tmp_path / place).mkdir()
    result = kdst_core.run(
        "norm",
        data=f"imagenet-c:{tmp_path}",
        model=small_network(),
        batch_size=4,
        out=tmp_path / "r",
    )
    assert result.data["input"]["shifts"] == ["fog.5", "gaussian_noise.5"]
    assert result.data["input"]["images_per_shift"] == [6, 6]
    with pytest.raises(KdstError, match="holds no images"):
        kdst_core.run(
            "norm", data=f"imagenet-c:{tmp_path}", model=small_network(), severity="1",
            out=tmp_path / "s",
        )  # fmt: skip


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_parameter_free_shortcut_is_slicing_and_zeros(layout: torch.memory_format) -> None:
    from kdst_adapt.models.resnet import Block

    x = torch.rand(2, 4, 8, 6).contiguous(memory_format=layout).requires_grad_()
    same, out = Block(4, 8, 2)._fork(x)
    sliced = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
    g, h = torch.rand_like(out), torch.rand_like(x)
    assert torch.equal(same, x)
    assert torch.equal(out, sliced)
    assert out.is_contiguous(memory_format=layout)
    alone = (torch.autograd.grad(y, x, g, retain_graph=True)[0] for y in (out, sliced))
    assert torch.equal(*alone)
    both = torch.autograd.grad([same, out], x, [h.clone(), g])[0]
    assert torch.equal(both, h + torch.autograd.grad(sliced, x, g)[0])
