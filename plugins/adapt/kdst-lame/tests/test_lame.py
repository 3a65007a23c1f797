"""LAME as an algorithm: against a plain rendering of it, and what it does to batches."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdst_adapt.testing import batches, network, prepare, request
from kdst_authors.testing import check_plugin, make_run
from kdst_core.errors import KdstError
from kdst_lame import Options, adapt
from kdst_lame.affinity import AFFINITIES
from kdst_lame.method import energy


def plain_affinity(f: Tensor, kind: str, k: int, published: bool) -> Tensor:
    """Affinities of each two images, of features of length 1."""
    n = len(f)
    d = torch.stack([torch.stack([(f[i] - f[j]).norm() for j in range(n)]) for i in range(n)])
    w = torch.zeros(n, n, dtype=torch.float64)
    if kind == "linear":
        return f @ f.T
    if kind == "rbf":
        rank = k - 1 if published else k
        sigma = sum(sorted(d[i])[rank] for i in range(n)) / n
        return torch.exp(-d * d / (2 * sigma * sigma))
    for i in range(n):
        for j in sorted((j for j in range(n) if j != i), key=lambda j: float(d[i, j]))[:k]:
            w[i, j] = 1
    return w if published else (w + w.T) / 2


def plain_lame(model: nn.Module, x: Tensor, kind: str, k: int, published: bool) -> Tensor:
    """The probabilities of a batch, from affinities and features."""
    model, _ = prepare(model, batch=False)
    *body, head = model.children()
    features = nn.Sequential(*body)(x).detach()
    q = head(features).softmax(1) + 1e-10
    f = features / features.norm(dim=1, keepdim=True)
    w = plain_affinity(f, kind, k, published)
    z, old = q / q.sum(1, keepdim=True), float("inf")
    for step in range(100):
        before = z
        z = q * torch.exp(w @ z)
        z = z / z.sum(1, keepdim=True)
        pull = w @ before if published else w @ z / 2
        value = float((z * torch.log(z / q)).sum() - (z * pull).sum())
        if step > 1 and abs(value - old) <= 1e-8 * abs(old):
            break
        old = value
    return z


@pytest.mark.parametrize("kind", ["knn", "rbf", "linear"])
@pytest.mark.parametrize("profile", ["published", "corrected"])
def test_lame_equals_a_plain_rendering_in_float64(tmp_path: Path, profile: Any, kind: Any) -> None:
    model = network()
    lame = adapt(request(model), Options(profile=profile, affinity=kind, k=3), make_run(tmp_path))
    source = prepare(model, batch=False)[0]
    for x in batches(4):
        z = plain_lame(model, x, kind, 3, profile == "published")
        assert (lame.predict(x).exp() - z).abs().max() < 1e-10
        assert (source(x).softmax(1) - z).abs().max() > 1e-3


def test_an_image_with_a_double_is_still_not_its_own_neighbour() -> None:
    features = torch.nn.functional.normalize(batches(1)[0].flatten(1)[[0, 0, 0, 1, 2]])
    assert AFFINITIES["knn"](features, 2, published=False).diagonal().sum() == 0
    assert AFFINITIES["knn"](features, 2, published=True).diagonal().sum() > 0


def test_iterations_lower_the_energy_under_a_positive_affinity(tmp_path: Path) -> None:
    x, values = batches(1)[0], []
    for count in range(1, 8):
        options = Options(affinity="rbf", iterations=count)
        lame = adapt(request(network()), options, make_run(tmp_path))
        f = prepare(network(), batch=False)[0][:-1](x).detach()
        w = lame.affinity(f / f.norm(dim=1, keepdim=True))
        log_z = lame.predict(x)
        q = prepare(network(), batch=False)[0](x).detach().softmax(1) + 1e-10
        values.append(energy(log_z, q.log(), w @ log_z.exp() / 2))
    assert all(b < a for a, b in pairwise(values))


def test_neighbours_that_outnumber_an_image_carry_it_along(tmp_path: Path) -> None:
    """Eight copies of one image and one barely different that the model takes for another class."""
    lame = adapt(request(network()), Options(k=5), make_run(tmp_path))
    p = torch.tensor([[0.7, 0.3]] * 8 + [[0.45, 0.55]], dtype=torch.float64)
    w = torch.ones(9, 9, dtype=torch.float64) - torch.eye(9)
    assert lame.assign(p, w).argmax(1).tolist() == [0] * 9


def test_one_image_alone_keeps_the_prediction_of_the_source(tmp_path: Path) -> None:
    model, x = network(), batches(1)[0][:1]
    for kind in ("knn", "rbf"):
        lame = adapt(request(model), Options(affinity=kind), make_run(tmp_path))  # type: ignore[arg-type]
        p = prepare(model, batch=False)[0](x).softmax(1)
        assert lame.predict(x).argmax(1) == p.argmax(1)
        if kind == "knn":
            assert (lame.predict(x).exp() - p).abs().max() < 1e-9


def test_a_model_without_a_last_linear_layer_is_refused_or_gives_its_logits(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    with pytest.raises(KdstError, match=r"no penultimate features\nGive --features logits"):
        adapt(request(net), Options(), make_run(tmp_path))
    lame = adapt(request(net), Options(features="logits", k=2), make_run(tmp_path))
    assert lame.predict(batches(1)[0]).shape == (12, 5)


def test_lame_conforms() -> None:
    check_plugin("lame")
