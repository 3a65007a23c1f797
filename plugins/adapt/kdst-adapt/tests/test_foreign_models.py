"""Networks as people bring them: own layers, half precision, views, unused heads, other checkpoints."""

import argparse
import itertools
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

import kdst_core
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.kit import select_parameters
from kdst_adapt.models import checkpoints, classifier, pretrained
from kdst_core.errors import KdstError

RNG = np.random.default_rng(3)
IMAGES = RNG.random((18, 12, 12, 3)).astype(np.float32)
LABELS = RNG.integers(0, 5, 18)
NUMBER = itertools.count()


def run(tmp_path: Path, method: str, model: nn.Module, **options: Any) -> kdst_core.Result:
    """A run on random images in batches of 6."""
    options = {"data": (IMAGES, LABELS), "batch_size": 6, "threads": 1, **options}
    return kdst_core.run(method, model=model, out=tmp_path / f"r{next(NUMBER)}", **options)


def nll(result: kdst_core.Result, of: str = "") -> float:
    """Mean loss of the method or of a baseline."""
    return result.metrics[f"{of}nll.mean"]


class NormSiLU(nn.BatchNorm2d):
    """BatchNorm that holds its activation."""

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(super().forward(input))


class Net(nn.Module):
    """Two convolutions, a layer of choice after each, under one name each and a second one."""

    def __init__(self, norm: Any = nn.BatchNorm2d, *, shared: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.one, self.two = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3)
            self.norm1 = norm(6)
            self.norm2 = self.norm1 if shared else norm(6)
            self.head = nn.Linear(6 * 64, 5)
            for layer in (self.norm1, self.norm2):
                if isinstance(layer, nn.BatchNorm2d):
                    layer.running_mean.normal_()  # type: ignore[union-attr]
                    layer.running_var.uniform_(0.3, 2)  # type: ignore[union-attr]
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm2(self.two(self.norm1(self.one(x))))
        return self.head(x.view(-1, 6 * 64))


class WithAside(Net):
    """A network with a head for training only."""

    def __init__(self) -> None:
        super().__init__()
        self.aside = nn.BatchNorm2d(6)


KINDS = {
    "activation": lambda: Net(NormSiLU),
    "shared": lambda: Net(NormSiLU, shared=True),
    "group": lambda: Net(lambda c: nn.GroupNorm(2, c)),
    "instance": lambda: Net(lambda c: nn.InstanceNorm2d(c, affine=True)),
    "aside": WithAside,
}
METHODS = [
    name
    for name in (
        "tent",
        "sar",
        "eta",
        "shot",
        "pl",
        "cotta",
        "memo",
        "deyo",
        "rdumb",
        "rotta",
        "tea",
    )
    if find_spec("kdst_eata" if name == "eta" else f"kdst_{name}")
]
"""Those that are installed."""


@pytest.mark.parametrize("kind", KINDS)
def test_methods_of_learning_rate_zero_equal_their_baseline(tmp_path: Path, kind: str) -> None:
    for name in METHODS:
        options: dict[str, Any] = {"lr": 0.0}
        options |= {"cotta": {"augmentations": 2, "threshold": 0.0}}.get(name, {})
        options |= {"memo": {"augmentations": 2, "prior": float("inf")}}.get(name, {})
        options |= {"rotta": {"alpha": 0.0, "update_frequency": 10}}.get(name, {})
        options |= {"tea": {"profile": "fast", "buffer_size": 20}, "sar": {"rho": 5.0}}.get(
            name, {}
        )
        result = run(tmp_path, name, KINDS[kind](), **options)
        baseline = "source" if name in ("memo", "rotta") else "norm"
        assert nll(result) == pytest.approx(nll(result, f"baseline.{baseline}."), abs=1e-5), name


def test_the_audit_names_what_is_unused_and_the_layout(tmp_path: Path) -> None:
    result = run(tmp_path, "tent", WithAside())
    found = {f["what"]: f for f in result.data["audit"]}
    assert "aside.weight" in found["parameters"]["sentence"]
    assert found["layout"]["sentence"].startswith("Standard")
    assert result.metrics["updates"] == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_runs_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    options = {"mean": [0.5] * 3, "std": [0.5] * 3}
    half = run(tmp_path, "tent", Net().to(dtype), **options)
    whole = run(tmp_path, "tent", Net().to(dtype).float(), **options)
    assert nll(half) == nll(whole)
    assert any("float32" in w for w in half.warnings)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_enabled_inside(tmp_path: Path, mode: Any) -> None:
    outside = run(tmp_path, "tent", Net())
    with mode():
        inside = run(tmp_path, "tent", Net())
    assert nll(inside) == nll(outside)


def test_global_state_is_left_alone(tmp_path: Path) -> None:
    model, threads = Net(), torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    try:
        run(tmp_path, "tent", model)
        kdst_core.run("source", images=20, types=["fog"], out=tmp_path / "digits")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.rand(3), expected)


def test_memo_takes_no_image_twice_with_a_window(tmp_path: Path) -> None:
    pytest.importorskip("kdst_memo")
    options = {"augmentations": 2, "batch_size": 1, "images": 6}
    plain = run(tmp_path, "memo", Net(), **options)
    windowed = run(tmp_path, "memo", Net(), window=4, **options)
    assert nll(windowed) == nll(plain)
    assert windowed.metrics["updates"] == plain.metrics["updates"] == 6


def test_weights_tied_between_layers_are_updated_once() -> None:
    net = Net()
    net.norm2.weight = net.norm1.weight
    assert list(select_parameters(net, "norm-affine")) == [
        *("norm1.weight", "norm1.bias", "norm2.bias"),
    ]


@pytest.mark.parametrize("wrapper", ["net", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_checkpoints_of_training_scripts_are_read(
    tmp_path: Path, wrapper: str, prefix: str
) -> None:
    state = {prefix + k: v for k, v in Net().state_dict().items()}
    torch.save({wrapper: state, "acc": 93.1, "epoch": 7}, tmp_path / "c.pth")
    blank = Net()
    nn.init.zeros_(blank.head.weight)
    found = classifier.load(AdaptInputs(weights=tmp_path / "c.pth"), blank)
    assert torch.equal(found.get_parameter("head.weight"), Net().head.weight)


def test_what_lies_beside_the_weights_is_left_out_or_named(tmp_path: Path) -> None:
    state = Net().state_dict()
    beside = {"criterion.weight": torch.ones(5), **{f"model.{k}": v for k, v in state.items()}}
    averaged = {k: torch.zeros_like(v) for k, v in state.items()}
    saved = {"args": argparse.Namespace(lr=0.1), "acc": np.float64(93.1)}
    for content in (beside, {"model": state, "model_ema": averaged, **saved}):
        torch.save(content, tmp_path / "c.pth")
        blank = Net()
        nn.init.zeros_(blank.head.weight)
        found = classifier.load(AdaptInputs(weights=tmp_path / "c.pth"), blank)
        assert torch.equal(found.get_parameter("head.weight"), Net().head.weight)
    told = run(tmp_path, "source", Net(), weights=tmp_path / "c.pth").warnings
    assert any("left aside: model_ema beside model" in w for w in told)


def test_errors_of_checkpoints_name_what_they_hold_without_control_codes(tmp_path: Path) -> None:
    torch.save({"state_dict": Net()}, tmp_path / "whole.pth")
    with pytest.raises(KdstError) as error:
        checkpoints.read(tmp_path / "whole.pth")
    assert str(error.value).isprintable()
    assert "an object of" in str(error.value)


@pytest.mark.parametrize(
    ("content", "mean", "std"),
    [
        ('{"do_normalize": false, "image_mean": [0.5], "image_std": [0.5]}', [], []),
        ('{"image_mean": [0.5], "image_std": [0.25]}', [0.5], [0.25]),
        ('{"do_rescale": false, "image_mean": [127.5], "image_std": [51]}', [0.5], [0.2]),
    ],
)
def test_preprocessors_are_obeyed(
    tmp_path: Path, content: str, mean: list[float], std: list[float]
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content, encoding="utf-8")
    found = pretrained._normalisation(tmp_path / pretrained.PREPROCESSOR)
    assert found[0] == pytest.approx(mean)
    assert found[1] == pytest.approx(std)


def test_the_audit_says_which_normalisation_does_better(tmp_path: Path) -> None:
    class Bright(nn.Module):
        """Right only where a half stands for zero: the sign of the mean decides."""

        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            score = self.norm(x).mean((1, 2, 3))
            return torch.stack([-score, score], 1)

    labels = np.arange(40) % 2
    images = np.full((40, 4, 4, 3), 0.48, np.float32) + 0.04 * labels[:, None, None, None]
    data = images.astype(np.float32), labels
    told = run(tmp_path, "source", Bright().eval(), data=data)
    assert any("--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5" in w for w in told.warnings)
    right = run(tmp_path, "source", Bright().eval(), data=data, mean=[0.5] * 3, std=[0.5] * 3)
    assert right.metrics["accuracy.mean"] == 1
    assert not [w for w in right.warnings if "Source is right" in w]


def test_weights_in_whole_numbers_are_refused_and_safetensors_known_by_their_content(
    tmp_path: Path,
) -> None:
    state = nn.Linear(3, 2).state_dict()
    torch.save({k: v.to(torch.int8) for k, v in state.items()}, tmp_path / "a.pt")
    with pytest.raises(KdstError, match="weight is int8, the model has float32"):
        classifier.load(AdaptInputs(weights=tmp_path / "a.pt"), nn.Linear(3, 2))
    save_file(state, tmp_path / "b.bin")
    found = classifier.load(AdaptInputs(weights=tmp_path / "b.bin"), nn.Linear(3, 2))
    assert torch.equal(found.weight, state["weight"])


class Doubled(nn.Module):
    """A parametrisation: what the layer uses is twice what is learnt."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    def right_inverse(self, x: torch.Tensor) -> torch.Tensor:
        return x / 2


def test_a_parametrised_norm_layer_learns_what_its_weight_is_made_from() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5))
    nn.utils.parametrize.register_parametrization(net[1], "weight", Doubled())
    assert list(select_parameters(net, "norm-affine")) == [
        "1.bias",
        "1.parametrizations.weight.original",
    ]
    predictor = kdst_core.load("tent")(net, lr=0.1)
    x = torch.rand(8, 3, 8, 8)
    first = predictor.predict(x)
    learnt = predictor.state_dict()
    assert not torch.equal(predictor.predict(x), first)
    assert learnt
    assert torch.equal(net[1].weight, torch.ones(4))
