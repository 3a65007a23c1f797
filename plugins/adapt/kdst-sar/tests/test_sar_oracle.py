"""Sar against recorded runs of the published code."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kdst_adapt.testing import follow, recorded, recorded_request
from kdst_sar import Options
from kdst_sar.method import Sar


@pytest.fixture
def shared() -> Path:
    """The folder of recorded runs and real data."""
    folder = recorded()
    if folder is None:
        pytest.skip("KDST_TEST_DATA names no folder of recorded runs")
    return folder


KINKS = {(32, 133354): True, (46, 201581): True}
"""A unit of each batch within 3e-7 of the ReLU's kink, on the other side in the recorded float32."""


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_sar_reproduces_the_published_run(
    shared: Path, dtype: torch.dtype, tolerance: float
) -> None:
    options = Options(
        profile="published", margin=0.4 * np.log(10) / np.log(1000), layout="standard"
    )
    method = Sar(recorded_request(shared, dtype), options)
    with np.load(shared / "oracles/adapt/sar_c10.npz") as run:
        for b in follow(method, run, KINKS, tolerance):
            assert method.running == pytest.approx(float(run[f"b{b}/ema"]), rel=tolerance)
