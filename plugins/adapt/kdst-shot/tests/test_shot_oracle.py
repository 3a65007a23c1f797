"""Shot against recorded runs of the published code."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kdst_adapt.testing import follow, recorded, recorded_request
from kdst_shot import Options
from kdst_shot.method import Shot


@pytest.fixture
def shared() -> Path:
    """The folder of recorded runs and real data."""
    folder = recorded()
    if folder is None:
        pytest.skip("KDST_TEST_DATA names no folder of recorded runs")
    return folder


KINKS = {(28, 331403): True, (33, 180794): False}
"""Units of the second batch within 3e-7 of the ReLU's kink, on the other side in the recorded float32."""


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_shot_reproduces_the_published_run(
    shared: Path, dtype: torch.dtype, tolerance: float
) -> None:
    options = Options(profile="published", layout="standard")
    method = Shot(recorded_request(shared, dtype), options)
    with np.load(shared / "oracles/adapt/shot.npz") as run:
        assert list(follow(method, run, KINKS, tolerance)) == [0, 1]
