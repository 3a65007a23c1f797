"""EATA and ETA as an algorithm: against a plain rendering of it, and through its profiles."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdst_adapt.checks import small_network
from kdst_core.contracts import AdaptRequest
from kdst_core.testing import check_plugin, make_run
from kdst_eata import EataOptions, EtaOptions, eata, eta

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


def plain_eata(
    model: nn.Module, data: list[Tensor], e0: float, d: float, source: list[Tensor]
) -> list[Tensor]:
    """ETA where there are no source batches, else EATA."""
    model, affine = prepare(model)
    start = [p.detach().clone() for p in affine]
    fisher = [torch.zeros_like(p) for p in affine]
    for x in source:
        logits = model(x)
        loss = nn.functional.cross_entropy(logits, logits.argmax(1))
        for f, g in zip(fisher, torch.autograd.grad(loss, affine), strict=True):
            f += g * g / len(source)
    adam = torch.optim.Adam(affine, 1e-3)
    mean, outputs = None, []
    for x in data:
        logits = model(x)
        p, h = logits.softmax(1).detach(), entropies(logits)
        kept = [k for k in range(len(x)) if h[k] < e0]
        if mean is not None:
            cosine = {k: p[k] @ mean / (p[k].norm() * mean.norm()) for k in kept}
            kept = [k for k in kept if abs(cosine[k]) < d]
        outputs.append(logits.detach())
        if not kept:
            continue
        new = p[kept].mean(0)
        mean = new if mean is None else 0.9 * mean + 0.1 * new
        loss = sum(h[k] / torch.exp(h[k].detach() - e0) for k in kept) / len(kept)
        anchors = zip(fisher, affine, start, strict=True)
        loss = loss + 2000 * sum((f * (q - s) ** 2).sum() for f, q, s in anchors)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return outputs


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("profile", ["published", "corrected"])
def test_eta_and_eata_equal_a_plain_rendering_in_float64(
    tmp_path: Path, profile: str, anchored: bool
) -> None:
    model, data = network(), batches(4)
    source = [(x, torch.zeros(len(x))) for x in batches(2, 9)] if anchored else []
    share = 0.17 if profile == "published" else 0.7
    options_class, module = (EataOptions, eata) if anchored else (EtaOptions, eta)
    options = options_class(profile=profile, margin=share, distance=0.6)  # type: ignore[arg-type]
    method = module.adapt(request(model, source), options, make_run(tmp_path))  # type: ignore[arg-type]
    e0 = share * math.log(1000 if profile == "published" else 5)
    expected = plain_eata(model, data, e0, 0.6, [x for x, _ in source])
    kept = []
    for x, logits in zip(data, expected, strict=True):
        assert (method.predict(x) - logits).abs().max() < 1e-10
        kept.append(method.diagnostics.samples)
    assert 0 < min(kept) < 12


def test_published_defaults_make_no_update_after_the_first_batch(tmp_path: Path) -> None:
    options = EtaOptions(profile="published")
    method = eta.adapt(request(network(1.0)), options, make_run(tmp_path))
    updates = []
    for x in batches(3):
        method.predict(x)
        updates.append(method.diagnostics.updates)
    assert updates == [1, 0, 0]


def test_only_the_corrected_reset_forgets_the_mean_prediction(tmp_path: Path) -> None:
    for profile in ("published", "corrected"):
        options = EtaOptions(profile=profile, margin=1.0)  # type: ignore[arg-type]
        method = eta.adapt(request(network()), options, make_run(tmp_path / profile))
        method.predict(batches(1)[0])
        assert method.mean is not None
        method.reset()
        assert (method.mean is None) == (profile == "corrected")


def test_eta_conforms() -> None:
    check_plugin("eta")


def test_eata_conforms() -> None:
    check_plugin("eata")
