"""Pl as an algorithm: against a plain rendering of it, and through its profiles."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdst_adapt.checks import small_network
from kdst_core.contracts import AdaptRequest
from kdst_core.testing import check_plugin, make_run
from kdst_pl import PlOptions, adapt

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


def plain_pl(model: nn.Module, data: list[Tensor], published: bool) -> list[Tensor]:
    model, _ = prepare(model, batch=not published)
    adam = torch.optim.Adam(model.requires_grad_().parameters(), 1e-2)
    outputs = []
    for x in data:
        logits = model(x)
        p, label = logits.softmax(1).max(1)
        kept = [k for k in range(len(x)) if p[k] > 0.6]
        adam.zero_grad()
        if kept:
            (-logits[kept].log_softmax(1)[range(len(kept)), label[kept]]).mean().backward()
        if kept or published:
            adam.step()
        outputs.append(logits.detach())
    return outputs


@pytest.mark.parametrize("profile", ["published", "corrected"])
def test_pl_equals_a_plain_rendering_in_float64(tmp_path: Path, profile: str) -> None:
    model, data = network(batch=profile == "corrected"), batches(4)
    options = PlOptions(profile=profile, threshold=0.6, lr=1e-2)  # type: ignore[arg-type]
    pl = adapt(request(model), options, make_run(tmp_path))
    expected = plain_pl(model, data, profile == "published")
    assert (expected[-1] - plain_pl(model, data[-1:], profile == "published")[0]).abs().max() > 1e-6
    for x, logits in zip(data, expected, strict=True):
        assert (pl.predict(x) - logits).abs().max() < 1e-10


def test_corrected_pl_takes_no_step_without_a_confident_image(tmp_path: Path) -> None:
    pl = adapt(request(network()), PlOptions(threshold=1.0), make_run(tmp_path))
    before = [p.detach().clone() for p in pl.parameters]
    pl.predict(batches(1)[0])
    assert all(torch.equal(a, b) for a, b in zip(before, pl.parameters, strict=True))
    assert pl.diagnostics.updates == pl.diagnostics.samples == 0


def test_pl_conforms() -> None:
    check_plugin("pl")
