"""Sar against recorded runs of the published code."""

from pathlib import Path

import numpy as np
import pytest

from kdst_adapt.testing import follow, recorded, recorded_request
from kdst_sar import SarOptions
from kdst_sar.sar import Sar


@pytest.fixture
def shared() -> Path:
    """The folder of recorded runs and real data."""
    folder = recorded()
    if folder is None:
        pytest.skip("KDST_TEST_DATA names no folder of recorded runs")
    return folder


def test_sar_reproduces_the_published_run(shared: Path) -> None:
    options = SarOptions(
        profile="published", margin=0.4 * np.log(10) / np.log(1000), layout="standard"
    )
    method = Sar(recorded_request(shared), options)
    with np.load(shared / "oracles/adapt/sar_c10.npz") as run:
        for b in follow(method, run):
            assert method.running == pytest.approx(float(run[f"b{b}/ema"]), rel=1e-5)
