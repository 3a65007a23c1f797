"""EATA and ETA as an algorithm: against a plain rendering of it, and through its profiles."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import kdst_core
from kdst_adapt.testing import batches, entropies, network, prepare, request
from kdst_authors.testing import check_plugin, make_run
from kdst_eata import EataOptions, EtaOptions, eata, eta


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


def test_eata_takes_the_training_part_of_the_embedded_digits_for_its_anchor(tmp_path: Path) -> None:
    result = kdst_core.run("eata", out=tmp_path / "r", images=100, types=["fog"])
    assert result.metrics["updates"] > 0
