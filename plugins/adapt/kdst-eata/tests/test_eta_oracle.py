"""Eta against recorded runs of the published code."""

from pathlib import Path

import numpy as np
import pytest

from kdst_adapt.testing import error, follow, recorded, recorded_request
from kdst_eata import EtaOptions
from kdst_eata.method import Eta


@pytest.fixture
def shared() -> Path:
    """The folder of recorded runs and real data."""
    folder = recorded()
    if folder is None:
        pytest.skip("KDST_TEST_DATA names no folder of recorded runs")
    return folder


def test_eta_reproduces_the_published_run(shared: Path) -> None:
    options = EtaOptions(
        profile="published",
        margin=0.4 * np.log(10) / np.log(1000),
        distance=0.4,
        layout="standard",
    )
    method = Eta(recorded_request(shared), options)
    with np.load(shared / "oracles/adapt/eta_c10.npz") as run:
        for b in follow(method, run):
            assert method.mean is not None
            assert error(method.mean.numpy(), run[f"b{b}/probs_ema"]) < 1e-5
        assert method.diagnostics.samples == run["b1/n_used"][1] - run["b0/n_used"][1]
