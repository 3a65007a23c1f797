"""Networks of timm with random weights: every method of learning rate 0 is its baseline.

timm imports torchvision, on which kdst does not depend, so these tests are skipped where it is missing.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import kdst_core
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.models import classifier, packaged
from kdst_core.errors import KdstError

try:
    import timm
except (ImportError, RuntimeError) as e:  # RuntimeError: a torchvision of another torch
    pytest.skip(f"timm cannot be imported: {e}", allow_module_level=True)

NETWORKS: dict[str, dict[str, Any]] = {
    "test_byobnet": {},  # BatchNormAct2d
    "test_efficientnet": {},  # BatchNormAct2d, depthwise
    "test_efficientnet_gn": {},  # GroupNormAct
    "test_efficientnet_ln": {},  # LayerNormAct2d
    "test_resnet": {},  # BatchNorm2d
    "test_convnext": {},  # LayerNorm2d and LayerNorm
    "test_vit": {"img_size": 32},  # LayerNorm
    "test_mambaout": {},  # LayerNorm, gated
    "inception_v3": {"aux_logits": True},  # BatchNormAct2d, with an auxiliary head
}
LARGE = "inception_v3"
"""Its auxiliary head answers in evaluation too, and takes no smaller images than 299."""
OPTIONS: dict[str, dict[str, Any]] = {
    "tent": {},
    "pl": {"threshold": 0.0},
    "shot": {},
    "eta": {"margin": 2.0},
    "eata": {"margin": 2.0, "fisher_images": 4},
    "sar": {"margin": 2.0},
    "tea": {"profile": "fast", "buffer_size": 8},
    "memo": {"augmentations": 2, "prior": float("inf")},
    "cotta": {"augmentations": 1, "threshold": 0.0},
    "deyo": {"tau_ent": 2.0, "tau_plpd": -1.0},
    "rdumb": {"margin": 2.0},
}
METHODS = [m for m in OPTIONS if find_spec("kdst_eata" if m == "eta" else f"kdst_{m}")]
"""Those that are installed."""


@torch.no_grad()
def network(name: str, side: int) -> nn.Module:
    """A network of 10 classes with random weights, and statistics of other images, in float64.

    Layouts round differently in float32, and random weights amplify that.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net: nn.Module = timm.create_model(name, num_classes=10, **NETWORKS[name])
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        net.train()(torch.rand(4, 3, side, side))
    return net.double().eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_methods_of_learning_rate_zero_equal_their_baseline(tmp_path: Path, name: str) -> None:
    count, side = (4, 299) if name == LARGE else (8, 32)
    images = np.random.default_rng(0).random((count, side, side, 3)).astype(np.float32)
    data = images, np.arange(count)
    net = network(name, side)
    for method in METHODS:
        options: dict[str, Any] = {"lr": 0.0, "source": data, **OPTIONS[method]}
        result = kdst_core.run(
            method,
            model=net,
            data=data,
            batch_size=count // 2,
            threads=1,
            out=tmp_path / method,
            **options,
        )
        baseline = "source" if method == "memo" else "norm"
        expected = result.metrics[f"baseline.{baseline}.nll.mean"]
        assert result.metrics["nll.mean"] == pytest.approx(expected, abs=1e-5), method
        assert result.metrics["updates"] > 0, method
    if name == LARGE:
        found = {f["what"]: f["sentence"] for f in result.data["audit"]}
        assert "BatchNormAct2d" in found["normalisation"]
        assert "AuxLogits" in found["parameters"]


def test_a_network_by_name_has_its_weights_its_classes_and_its_normalisation(
    tmp_path: Path,
) -> None:
    net = timm.create_model("test_resnet", num_classes=7)
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    ours = classifier.load(
        AdaptInputs(model="timm:test_resnet", weights=tmp_path / "weights.safetensors")
    )
    config = timm.get_pretrained_cfg("test_resnet")
    x = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (config.mean, config.std))
    torch.testing.assert_close(ours(x), net.eval()((x - mean) / std))
    frame = packaged.frame("timm:test_resnet")
    assert frame is not None
    assert frame.crop == config.input_size[-1]


@pytest.mark.parametrize(
    ("name", "message"),
    [("test_resnet", "needs --weights FILE"), ("test_resnot", "did you mean .*test_resnet")],
)
def test_a_network_that_has_no_weights_or_is_none_is_refused(name: str, message: str) -> None:
    with pytest.raises(KdstError, match=f"(?i){message}"):
        classifier.load(AdaptInputs(model=f"timm:{name}"))
