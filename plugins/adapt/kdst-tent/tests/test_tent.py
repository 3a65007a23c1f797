"""Tent as an algorithm: against a plain rendering of it, and through its profiles."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdst_adapt.testing import batches, entropies, network, prepare, request
from kdst_authors.testing import check_plugin, make_run
from kdst_tent import Options, adapt


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
    tent = adapt(request(model), Options(profile=profile), make_run(tmp_path))  # type: ignore[arg-type]
    for x, expected in zip(data, plain_tent(model, data), strict=True):
        assert (tent.predict(x) - expected).abs().max() < 1e-10


def test_tent_conforms() -> None:
    check_plugin("tent")
