"""Tent against recorded runs of the published code."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kdst_adapt import models
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.testing import error, recorded
from kdst_core.contracts import AdaptRequest
from kdst_tent import TentOptions
from kdst_tent.tent import Tent


@pytest.fixture
def shared() -> Path:
    """The folder of recorded runs and real data."""
    folder = recorded()
    if folder is None:
        pytest.skip("KDST_TEST_DATA names no folder of recorded runs")
    return folder


def test_tent_reproduces_the_published_run(shared: Path) -> None:
    torch.set_num_threads(1)
    weights = shared / "data/cifar10-jpeg/resnet20-12fca82f.th"
    model = models.load(AdaptInputs(model="resnet20", weights=weights))
    with np.load(shared / "oracles/adapt/tent.npz") as file:
        x = torch.from_numpy(file["x"])
        request = AdaptRequest(model, 10, (3, 32, 32), torch.Generator())
        options = TentOptions(profile="published", layout="standard")
        method = Tent(request, options)
        names = [n for n, p in method.model.named_parameters() if p.requires_grad]
        assert {f"p0/{n}" for n in names} == {k for k in file.files if k.startswith("p0/")}
        size = len(file["b0/logits"])
        for b in range(2):
            logits = method.predict(x[b * size : (b + 1) * size])
            assert error(logits.numpy(), file[f"b{b}/logits"]) < 1e-5
            for name, parameter in zip(names, method.parameters, strict=True):
                assert error(parameter.detach().numpy(), file[f"b{b}/p/{name}"]) < 1e-5
            assert method.diagnostics.scalars["loss"] == pytest.approx(
                file[f"b{b}/losses"][-1], rel=1e-5
            )
