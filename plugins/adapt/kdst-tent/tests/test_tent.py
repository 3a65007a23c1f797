"""Tent as an algorithm: against a plain rendering of it, and through its profiles."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdst_adapt.checks import small_network
from kdst_core.contracts import AdaptRequest
from kdst_core.testing import check_plugin, make_run
from kdst_tent import TentOptions, adapt

SHAPE = (3, 8, 8)


def batches(count: int, size: int = 12) -> list[Tensor]:
    """Images of many colours and contrasts."""
    g = torch.Generator().manual_seed(5)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(size, *shape, generator=g, dtype=torch.float64)

    return [uniform(3, 1, 1) + (uniform(*SHAPE) - 0.5) * uniform(1, 1, 1) * 2 for _ in range(count)]


def network(spread: float = 2.0, *, batch: bool = True) -> nn.Module:
    """A network whose logits have mean 0 and a spread, so that filters have something to decide."""
    net = small_network().double()
    last = list(net.children())[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        logits = prepare(net, batch=batch)[0](torch.cat(batches(4)))
        scale = spread / logits.std(0)
        last.bias.copy_((last.bias - logits.mean(0)) * scale)
        last.weight.mul_(scale[:, None])
    return net


def request(model: nn.Module, source: list[tuple[Tensor, Tensor]] | None = None) -> AdaptRequest:
    return AdaptRequest(model, 5, SHAPE, torch.Generator().manual_seed(3), source)


def prepare(model: nn.Module, *, batch: bool = True) -> tuple[nn.Module, list[nn.Parameter]]:
    """A copy whose BatchNorm takes the batch's statistics, and its affine parameters."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    affine: list[nn.Parameter] = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            if batch:
                module.running_mean = module.running_var = None
            affine += [module.weight.requires_grad_(), module.bias.requires_grad_()]
    return model, affine


def entropies(logits: Tensor) -> Tensor:
    p = logits.softmax(1)
    return -(p * p.log()).sum(1)


def plain_tent(model: nn.Module, data: list[Tensor]) -> list[Tensor]:
    model, affine = prepare(model)
    adam = torch.optim.Adam(affine, 1e-3)
    outputs = []
    for x in data:
        logits = model(x)
        adam.zero_grad()
        entropies(logits).mean().backward()
        adam.step()
        outputs.append(logits.detach())
    return outputs


@pytest.mark.parametrize("profile", ["published", "corrected"])
def test_tent_equals_a_plain_rendering_in_float64(tmp_path: Path, profile: str) -> None:
    model, data = network(), batches(4)
    tent = adapt(request(model), TentOptions(profile=profile), make_run(tmp_path))  # type: ignore[arg-type]
    for x, expected in zip(data, plain_tent(model, data), strict=True):
        assert (tent.predict(x) - expected).abs().max() < 1e-10


def test_tent_conforms() -> None:
    check_plugin("tent")
