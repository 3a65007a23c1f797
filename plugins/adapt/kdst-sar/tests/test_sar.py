"""SAR as an algorithm: against a plain rendering of it, and through its profiles."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdst_adapt.models.depth import late_parameters
from kdst_adapt.models.imagenet_resnet import ImageNetResNet
from kdst_adapt.models.resnet import ResNet
from kdst_adapt.models.wideresnet import WideResNet
from kdst_adapt.testing import batches, entropies, network, prepare, request
from kdst_authors.testing import check_plugin, make_run
from kdst_sar import Options, adapt


def plain_sar(model: nn.Module, data: list[Tensor], margin: float, floor: float) -> list[Tensor]:
    """The published algorithm, with its reset that keeps momentum and running loss."""
    model, affine = prepare(model)
    start = [p.detach().clone() for p in affine]
    sgd = torch.optim.SGD(affine, 0.01, 0.9)
    running, outputs = None, []
    for x in data:
        logits = model(x)
        outputs.append(logits.detach())
        kept = [k for k in range(len(x)) if entropies(logits)[k] < margin]
        gradients = torch.autograd.grad(entropies(logits)[kept].mean(), affine)
        norm = sum((g * g).sum() for g in gradients) ** 0.5
        with torch.no_grad():
            climb = [0.05 * g / norm for g in gradients]
            for p, c in zip(affine, climb, strict=True):
                p += c
        h = entropies(model(x))
        kept = [k for k in kept if h[k] < margin]
        gradients = torch.autograd.grad(h[kept].mean(), affine)
        value = h[kept].mean().item()
        running = value if running is None else 0.9 * running + 0.1 * value
        with torch.no_grad():
            for p, c, g in zip(affine, climb, gradients, strict=True):
                p -= c
                p.grad = g
        sgd.step()
        if running < floor:
            with torch.no_grad():
                for p, s in zip(affine, start, strict=True):
                    p.copy_(s)
    return outputs


@pytest.mark.parametrize("floor", [0.0, 0.9])
def test_sar_equals_a_plain_rendering_in_float64(tmp_path: Path, floor: float) -> None:
    model, data = network(), batches(4)
    options = Options(profile="published", margin=0.15, reset_below=floor)
    sar = adapt(request(model), options, make_run(tmp_path))
    expected = plain_sar(model, data, 0.15 * math.log(1000), floor)
    for x, logits in zip(data, expected, strict=True):
        assert (sar.predict(x) - logits).abs().max() < 1e-10
        assert 0 < sar.diagnostics.samples < len(x)
        assert sar.diagnostics.scalars["resets"] == (sar.running < floor)


def test_corrected_sar_equals_published_sar_at_the_same_margin(tmp_path: Path) -> None:
    share = 0.9
    expected = plain_sar(network(), batches(4), share * math.log(5), 0.0)
    sar = adapt(request(network()), Options(margin=share), make_run(tmp_path))
    for x, logits in zip(batches(4), expected, strict=True):
        assert (sar.predict(x) - logits).abs().max() < 1e-10


def test_only_published_sar_keeps_resetting_after_a_collapse(tmp_path: Path) -> None:
    for profile, again in (("published", True), ("corrected", False)):
        options = Options(profile=profile, margin=1.0)  # type: ignore[arg-type]
        sar = adapt(request(network()), options, make_run(tmp_path / profile))
        sar.floor = 0.3 * entropies(sar.logits(batches(1)[0])).mean().item()
        sar.load_own_state({"running": 1e-4})
        resets = []
        for x in batches(3):
            sar.predict(x)
            resets.append(sar.diagnostics.scalars["resets"])
        assert resets == [1, again, again]


def bn(count: int) -> nn.Sequential:
    """Blocks of a normalisation layer each, in a row."""
    return nn.Sequential(*(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()) for _ in range(count)))


def left_alone(model: nn.Module) -> set[str]:
    """The parameters that SAR does not update."""
    order = {id(m): k for k, m in enumerate(model.modules())}
    late = late_parameters(model, order)
    return {n for n, p in model.named_parameters() if id(p) in late}


@pytest.mark.parametrize(("count", "kept"), [(3, 3), (4, 3), (7, 6), (12, 9)])
def test_the_last_quarter_of_the_blocks_is_left_alone(count: int, kept: int) -> None:
    found = left_alone(bn(count))
    assert found == {f"{k}.0.{w}" for k in range(kept, count) for w in ("weight", "bias")}


def test_names_and_wrappers_do_not_change_what_is_left_alone() -> None:
    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.rest, self.last = nn.Conv2d(3, 3, 1), bn(12), nn.LayerNorm(3)

    plain = left_alone(Transformer())
    assert {n.partition(".")[0] for n in plain} == {"rest", "last"}
    assert left_alone(nn.Sequential(nn.Sequential(Transformer()))) == {f"0.0.{n}" for n in plain}


def test_the_networks_of_the_paper() -> None:
    found = left_alone(ImageNetResNet("resnet101"))
    assert {n.partition(".")[0] for n in found} == {"layer4"}
    assert not left_alone(ResNet(3))
    assert not left_alone(WideResNet(10, 1))


def test_sar_conforms() -> None:
    check_plugin("sar")
