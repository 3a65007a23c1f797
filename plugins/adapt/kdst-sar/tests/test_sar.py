"""SAR as an algorithm: against a plain rendering of it, and through its profiles."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdst_adapt.testing import batches, entropies, network, prepare, request
from kdst_core.testing import check_plugin, make_run
from kdst_sar import SarOptions, adapt


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
    options = SarOptions(profile="published", margin=0.15, reset_below=floor)
    sar = adapt(request(model), options, make_run(tmp_path))
    expected = plain_sar(model, data, 0.15 * math.log(1000), floor)
    for x, logits in zip(data, expected, strict=True):
        assert (sar.predict(x) - logits).abs().max() < 1e-10
        assert 0 < sar.diagnostics.samples < len(x)
        assert sar.diagnostics.scalars["resets"] == (sar.running < floor)


def test_corrected_sar_equals_published_sar_at_the_same_margin(tmp_path: Path) -> None:
    share = 0.9
    expected = plain_sar(network(), batches(4), share * math.log(5), 0.0)
    sar = adapt(request(network()), SarOptions(margin=share), make_run(tmp_path))
    for x, logits in zip(batches(4), expected, strict=True):
        assert (sar.predict(x) - logits).abs().max() < 1e-10


def test_only_published_sar_keeps_resetting_after_a_collapse(tmp_path: Path) -> None:
    for profile, again in (("published", True), ("corrected", False)):
        options = SarOptions(profile=profile, margin=1.0)  # type: ignore[arg-type]
        sar = adapt(request(network()), options, make_run(tmp_path / profile))
        sar.floor = 0.3 * entropies(sar.logits(batches(1)[0])).mean().item()
        sar.load_own_state({"running": 1e-4})
        resets = []
        for x in batches(3):
            sar.predict(x)
            resets.append(sar.diagnostics.scalars["resets"])
        assert resets == [1, again, again]


def test_the_last_block_is_left_alone() -> None:
    from kdst_sar.sar import LAST, Sar

    names = [
        "layer1.0.bn1.weight",
        "layer4.0.bn1.weight",
        "blocks.3.norm1.bias",
        "blocks.11.norm1.bias",
    ]
    sar = Sar.__new__(Sar)
    kept = sar.choose(dict.fromkeys([*names, "norm.weight"], nn.Parameter(torch.ones(1))))
    assert list(kept) == [n for n in names if not any(last in n for last in LAST)]


def test_sar_conforms() -> None:
    check_plugin("sar")
