"""SANTA as an algorithm: against a plain rendering of it, and what it learns from."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam

import kdst_core
from kdst_adapt.augment import augment
from kdst_adapt.testing import batches, network, prepare, request
from kdst_authors.testing import check_plugin, make_run
from kdst_core.errors import KdstError
from kdst_santa import Options, adapt
from kdst_santa.alignment import alignment


def source() -> list[tuple[Tensor, Tensor]]:
    """Two batches of source data with every class in them."""
    return [(x, torch.arange(len(x)) % 5) for x in batches(2, 9)]


def plain_alignment(views: list[Tensor], tau: float) -> Tensor:
    """The contrastive loss of views, pair by pair."""
    z = [v / v.norm() for view in views for v in view]
    n, total = len(views[0]), []
    for i in range(len(z)):
        below = sum(torch.exp(z[i] @ z[k] / tau) for k in range(len(z)) if k != i)
        for j in range(i % n, len(z), n):
            if j != i:
                total.append(-torch.log(torch.exp(z[i] @ z[j] / tau) / below))
    return torch.stack(total).mean()


def plain_santa(
    model: nn.Module, data: list[Tensor], ours: Any, weight: float
) -> tuple[list[Tensor], list[float]]:
    """Logits and alignment of each batch, beginning with the projector and generator of `ours`."""
    trained, _ = prepare(model, batch=False)
    x, y = (torch.cat(parts) for parts in zip(*source(), strict=True))
    f = trained[:-1](x).detach()  # type: ignore[index]
    prototypes = [f[y == c].mean(0) for c in range(5)]
    net, affine = prepare(model)
    anchor = copy.deepcopy(net)
    psi = copy.deepcopy(ours.projector)
    generator = torch.Generator()
    generator.set_state(ours.generator.get_state())
    adam = Adam([*affine, *psi.parameters()], 1e-2)
    outputs, losses = [], []
    for x in data:
        f, g = (net[:-1](v) for v in (x, augment(x, generator)))  # type: ignore[index]
        head = net[-1]  # type: ignore[index]
        near = [max(prototypes, key=lambda c, v=v: float(v @ c / c.norm())) for v in f.detach()]
        p, q, a = head(f).softmax(1), head(g).softmax(1), anchor(x).softmax(1).detach()
        anchoring = -(p * a.log() + q * a.log()).sum() / len(x)
        aligning = plain_alignment([psi(v) for v in (torch.stack(near), f, g)], 0.1)
        outputs.append(head(f).detach())
        losses.append(aligning.item())
        adam.zero_grad()
        (anchoring + weight * aligning).backward()
        adam.step()
    return outputs, losses


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_santa_equals_a_plain_rendering_in_float64(tmp_path: Path, weight: float) -> None:
    options = Options(lr=1e-2, projection=16, alignment=weight)
    ours = adapt(request(network(), source()), options, make_run(tmp_path))
    expected, losses = plain_santa(network(), batches(4), ours, weight)
    for x, logits, loss in zip(batches(4), expected, losses, strict=True):
        assert (ours.predict(x) - logits).abs().max() < 1e-10
        assert ours.diagnostics.scalars["alignment"] == pytest.approx(loss, abs=1e-10)
    norm = prepare(network())[0]
    assert (expected[-1] - norm(batches(4)[-1])).abs().max() > 0.05


def test_the_projector_learns_and_goes_back_with_the_rest(tmp_path: Path) -> None:
    ours = adapt(request(network(), source()), Options(lr=1e-2), make_run(tmp_path))
    before = [p.clone() for p in ours.projector.parameters()]
    ours.predict(batches(1)[0])
    assert not any(map(torch.equal, ours.projector.parameters(), before))
    ours.reset()
    assert all(map(torch.equal, ours.projector.parameters(), before))


def test_prototypes_of_fewer_images_are_those_of_the_first(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    first = adapt(request(network(), source()[:1]), Options(), run)
    limited = adapt(request(network(), source()), Options(prototype_images=9), run)
    whole = adapt(request(network(), source()), Options(), run)
    assert torch.equal(first.prototypes, limited.prototypes)
    assert not torch.equal(first.prototypes, whole.prototypes)


def test_no_source_and_a_class_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KdstError, match="santa needs source data"):
        adapt(request(network()), Options(), make_run(tmp_path))
    x, y = source()[0]
    with pytest.raises(KdstError, match=r"none of class 4 \(1 of 5 have none"):
        adapt(request(network(), [(x, y % 4)]), Options(), make_run(tmp_path))


def test_the_alignment_falls_when_views_of_an_image_come_together() -> None:
    g = torch.Generator().manual_seed(0)
    views = torch.randn(3, 6, 4, generator=g, dtype=torch.float64)
    together = views.mean(0, keepdim=True).expand(3, 6, 4)
    assert alignment(together, 0.1) < alignment(views, 0.1)
    assert alignment(views[:, :1], 0.1).isfinite()


def test_santa_takes_the_training_part_of_the_embedded_digits(tmp_path: Path) -> None:
    result = kdst_core.run("santa", out=tmp_path / "r", images=100, types=["fog"])
    assert result.metrics["updates"] == 2


def test_santa_conforms() -> None:
    check_plugin("santa")
