"""ROID as an algorithm: against a plain rendering of it, and through its parts."""

from pathlib import Path

import pytest
import torch
from torch import Generator, nn

from kdst_adapt.self_training import soft_likelihood_ratio
from kdst_adapt.testing import (
    batches,
    entropies,
    network,
    prepare,
    request,
    roid_correction,
    roid_losses,
)
from kdst_authors.testing import check_plugin, make_run
from kdst_roid import Options, adapt


def narrow() -> nn.Module:
    """A network whose last BatchNorm sees one value a channel of an image."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 8), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 5)]
        return nn.Sequential(*layers).double().eval()


@pytest.mark.parametrize("profile", ["published", "corrected"])
def test_roid_equals_a_plain_rendering_in_float64(tmp_path: Path, profile: str) -> None:
    source, generator = network(), Generator().manual_seed(3)
    roid = adapt(request(source), Options(profile=profile), make_run(tmp_path))  # type: ignore[arg-type]
    model, affine = prepare(source)
    start = [p.detach().clone() for p in affine]
    adam, mean = torch.optim.Adam(affine, 1e-3), torch.full((5,), 0.2, dtype=torch.float64)
    for x in batches(4):
        logits, loss, mean = roid_losses(model, x, mean, generator)
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            for p, p0 in zip(affine, start, strict=True):
                p.copy_(0.99 * p + 0.01 * p0)
        assert (roid.predict(x) - roid_correction(logits, profile)).abs().max() < 1e-10
        assert roid.diagnostics.scalars["loss"] == pytest.approx(loss.item(), abs=1e-10)
        after = roid_correction(model(x).detach(), profile)
        assert (roid.diagnostics.after_update - after).abs().max() < 1e-10
        assert 0 < roid.diagnostics.samples < len(x)


def test_the_corrected_profile_multiplies_probabilities_by_the_prior(tmp_path: Path) -> None:
    logits = torch.randn(12, 5, generator=Generator().manual_seed(0), dtype=torch.float64) - 3
    p = logits.softmax(1)
    roid = adapt(request(network()), Options(), make_run(tmp_path))
    ratio = roid.correct(logits).softmax(1) / p
    weight = ratio / ratio[:, :1]
    assert torch.allclose(weight, weight[:1].expand_as(weight), atol=1e-12)
    assert int(weight[0].argmax()) == int(p.mean(0).argmax())


def test_one_image_and_equal_images_have_finite_weights(tmp_path: Path) -> None:
    """The authors' code divides 0 by 0 there."""
    roid = adapt(request(network()), Options(), make_run(tmp_path))
    x = batches(1)[0]
    for images in (x[:1], x[:1].expand(4, -1, -1, -1), x):
        assert roid.predict(images).isfinite().all()
        assert roid.diagnostics.samples > 0
    assert all(p.isfinite().all() for p in roid.parameters)


def test_one_kept_image_of_two_is_normalised_with_the_other(tmp_path: Path) -> None:
    roid = adapt(request(narrow()), Options(), make_run(tmp_path))
    assert roid.predict(batches(1)[0][:2]).isfinite().all()
    assert roid.diagnostics.samples == 1


def test_weights_of_the_source_only_leave_the_model_where_it_was(tmp_path: Path) -> None:
    roid = adapt(request(network()), Options(momentum_src=0.0, lr=0.1), make_run(tmp_path))
    roid.predict(batches(1)[0])
    assert all(map(torch.equal, roid.parameters, roid.start))


def test_the_likelihood_ratio_pulls_at_certain_predictions_too() -> None:
    """The entropy's gradient is 0 there."""
    logits = torch.tensor([[4.0, 0.0, 0.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(soft_likelihood_ratio(logits).sum(), logits)
    (flat,) = torch.autograd.grad(entropies(logits).sum(), logits)
    assert slope[0, 0] < 3 * flat[0, 0] < 0


def test_roid_conforms() -> None:
    check_plugin("roid")
