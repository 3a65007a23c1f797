"""Whole runs of the bench: baselines, live objects, protocol, report."""

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import kdst_core
from kdst_adapt.baselines import fixed
from kdst_adapt.default import data as digits_data
from kdst_adapt.default import model as digits
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.models import classifier
from kdst_adapt.models.resnet import DEPTHS, ResNet
from kdst_authors.testing import check_plugin, make_run
from kdst_core.errors import KdstError


def digits_part() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (797, 1, 32, 32) and labels (797,) of the digits."""
    images, labels = digits_data.load(train=False)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)


def test_the_shipped_weights_have_their_recorded_accuracy() -> None:
    from safetensors import safe_open

    with safe_open(digits.weights_path(), "pt") as file:
        recorded = float(file.metadata()["accuracy.test"])
    x, y = digits_part()
    with torch.no_grad():
        right = (digits.load()(x).argmax(1) == y).float().mean().item()
    assert right == pytest.approx(recorded, abs=2e-3)
    assert digits.weights_path().stat().st_size < 1_000_000


@pytest.mark.parametrize("name", ["source", "norm"])
def test_baselines_conform(name: str) -> None:
    check_plugin(name)


@pytest.mark.parametrize("baseline", [fixed.source, fixed.norm])
def test_baselines_run_in_the_layout_of_methods_which_cost_relative_to_them(
    baseline: Callable[[nn.Module, str], fixed.Fixed],
) -> None:
    layouts = []
    net = ResNet(3)
    net.conv1.register_forward_pre_hook(
        lambda _, inputs: layouts.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    baseline(net, "cpu").predict(torch.rand(2, 3, 8, 8))
    assert layouts[-1]  # after what tries both
    assert net.conv1.weight.is_contiguous()


def test_source_is_the_model_in_evaluation_mode(tmp_path: Path) -> None:
    result = kdst_core.run("source", out=tmp_path / "r", corrupt=["contrast:2"], images=100)
    x, y = digits_part()
    from kdst_adapt.corruptions.corrupt import corrupt

    images = [corrupt(i.permute(1, 2, 0).numpy(), "contrast", 2, seed=0, index=0) for i in x[:100]]
    shifted = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    with torch.no_grad():
        right = (digits.load()(shifted).argmax(1) == y[:100]).float().mean().item()
    assert result.metrics["accuracy.contrast.2"] == pytest.approx(right)
    assert result.metrics["baseline.source.accuracy.mean"] == result.metrics["accuracy.mean"]


def test_a_live_model_and_live_data_run_like_named_ones(tmp_path: Path) -> None:
    model = digits.load().train()
    before = copy.deepcopy(model.state_dict())
    x, y = digits_part()
    result = kdst_core.run(
        "tea", model=model, data=(x[:60], y[:60]), out=tmp_path / "r", sgld_steps=2, buffer_size=50
    )
    assert result.metrics["baseline.source.accuracy.mean"] > 0.95
    assert result.data["input"]["data"].startswith("<")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.training


def test_a_factory_with_prefixed_weights_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_nets.py").write_text(
        "from kdst_adapt.models.resnet import ResNet\ndef small():\n    return ResNet(1, 7)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    net = ResNet(1, 7)
    state = {f"module.{k}": v for k, v in net.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pt")
    loaded = classifier.load(AdaptInputs(model="my_nets:small", weights=tmp_path / "w.pt"))
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(x), net.eval()(x))


@pytest.mark.parametrize("name", ["resnet20", "resnet32", "resnet44", "resnet56"])
def test_built_in_networks_have_the_depth_of_their_name(name: str) -> None:
    layers = [m for m in ResNet(DEPTHS[name]).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == int(name.removeprefix("resnet"))


def test_metrics_hold_every_reading_and_both_baselines(tmp_path: Path) -> None:
    result = kdst_core.run(
        "tea", out=tmp_path / "r", images=60, types=["fog"], severity="1,5", sgld_steps=2
    )
    names = ["mean", "fog.1", "fog.5"]
    for prefix in ("", "baseline.source.", "baseline.norm."):
        for reading in ("", "before_update.", "after_update."):
            assert {f"{prefix}{reading}accuracy.{n}" for n in names} <= result.metrics.keys()
        for name in (
            "ece.mean",
            "ece_batch.mean",
            "nll.mean",
            "seconds_per_batch",
            "cost_x_source",
        ):
            assert prefix + name in result.metrics
    assert result.metrics["after_update.accuracy.mean"] == result.metrics["accuracy.mean"]
    assert result.metrics["updates"] == 4
    protocol = result.data["input"]
    assert protocol["batch_size"] == 50
    assert protocol["images_per_shift"] == [60, 60]


def test_never_resetting_differs_from_resetting(tmp_path: Path) -> None:
    options = {"images": 100, "types": ["fog", "contrast"], "sgld_steps": 2, "lr": 0.01}
    runs = [
        kdst_core.run("tea", out=tmp_path / reset, reset=reset, **options)
        for reset in ("shift", "never")
    ]
    first, second = (r.metrics for r in runs)
    assert first["nll.fog.5"] == second["nll.fog.5"]
    assert first["nll.contrast.5"] != second["nll.contrast.5"]


def test_the_report_escapes_text_and_fetches_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    x, y = digits_part()
    block = (x[:20].permute(0, 2, 3, 1).repeat(5, 1, 1, 3).numpy() * 255).astype(np.uint8)
    np.save(folder / "<script>alert(1)<&>.npy", block)
    np.save(folder / "labels.npy", y[:20].numpy())
    net = ResNet(1, 10)
    result = kdst_core.run("norm", model=net, data=f"cifar10-c:{folder}", out=tmp_path / "r")
    page = result.report.read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    for attribute in ('src="http', 'href="http', "url(http", "@import"):
        assert attribute not in page


def test_report_is_made_again_from_the_result(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from kdst_core.cli import cli

    result = kdst_core.run("norm", out=tmp_path / "r", images=40, types=["fog"])
    page = result.report.read_bytes()
    result.report.unlink()
    done = CliRunner().invoke(cli, ["report", str(tmp_path / "r")])
    assert done.exit_code == 0, done.output
    assert result.report.read_bytes() == page
    curves = tmp_path / "r/artifacts/curves.json"
    assert set(json.loads(curves.read_text())["methods"]) == {"source", "norm"}


@pytest.mark.slow
def test_tea_is_above_source_and_not_below_norm_over_three_seeds(tmp_path: Path) -> None:
    runs = [kdst_core.run("tea", out=tmp_path / str(s), seed=s).metrics for s in range(3)]
    over_source = [r["difference.source.accuracy.mean"] for r in runs]
    over_norm = [r["difference.norm.accuracy.mean"] for r in runs]
    assert min(over_source) > 0.3
    assert sum(over_norm) / 3 > 0


def test_a_run_refuses_to_continue_with_another_model(tmp_path: Path) -> None:
    from kdst_adapt.loop import run_stream
    from kdst_adapt.streams.stream import Stream

    stream = Stream([], 50, "stored", "shift", 0)
    run = make_run(tmp_path)
    run.checkpoint({"step": 1, "identity": "first "})
    with pytest.raises(KdstError, match="another model or other data"):
        run_stream(stream, {"norm": None}, {}, run, "second")  # type: ignore[dict-item]


def test_a_run_that_is_resumed_with_other_data_or_another_model_is_refused(tmp_path: Path) -> None:
    x, y = (tensor[:8] for tensor in digits_part())
    run = partial(kdst_core.run, "norm", batch_size=4, out=tmp_path / "r")
    run(model=digits.load(), data=(x, y))
    run(model=digits.load(), data=(x.clone(), y), resume=True)
    with pytest.raises(KdstError, match=r"another configuration \(input\.data"):
        run(model=digits.load(), data=(x.flip(3), y), resume=True)
    other = digits.load()
    next(other.parameters()).data += 1
    with pytest.raises(KdstError, match=r"another configuration \(input\.model"):
        run(model=other, data=(x, y), resume=True)
