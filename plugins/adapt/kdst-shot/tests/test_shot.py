"""Shot as an algorithm: against a plain rendering of it, and through its profiles."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdst_adapt.testing import batches, entropies, network, prepare, request
from kdst_authors.testing import check_plugin, make_run
from kdst_shot import Options, adapt


def plain_shot(model: nn.Module, data: list[Tensor], threshold: float) -> list[Tensor]:
    model, affine = prepare(model)
    adam = torch.optim.Adam(affine, 1e-3)
    outputs = []
    for x in data:
        logits = model(x)
        p = logits.softmax(1)
        mean = p.sum(0) / len(x)
        loss = entropies(logits).mean() + (mean * torch.log(mean + 1e-5)).sum()
        kept = [k for k in range(len(x)) if p[k].max() > threshold]
        for k in kept:
            loss = loss - 0.3 * p[k].max().log() / len(kept)
        adam.zero_grad()
        loss.backward()
        adam.step()
        outputs.append(logits.detach())
    return outputs


@pytest.mark.parametrize("threshold", [0.6, 1.0])
@pytest.mark.parametrize("profile", ["published", "corrected"])
def test_shot_equals_a_plain_rendering_in_float64(
    tmp_path: Path, profile: str, threshold: float
) -> None:
    model, data = network(), batches(4)
    options = Options(profile=profile, threshold=threshold)  # type: ignore[arg-type]
    shot = adapt(request(model), options, make_run(tmp_path))
    for x, expected in zip(data, plain_shot(model, data, threshold), strict=True):
        assert (shot.predict(x) - expected).abs().max() < 1e-10


def test_only_the_published_loss_is_nan_without_a_confident_image(tmp_path: Path) -> None:
    for profile in ("published", "corrected"):
        options = Options(profile=profile, threshold=1.0)  # type: ignore[arg-type]
        shot = adapt(request(network()), options, make_run(tmp_path / profile))
        shot.predict(batches(1)[0])
        assert math.isnan(shot.diagnostics.scalars["loss"]) == (profile == "published")


def test_shot_conforms() -> None:
    check_plugin("shot")
