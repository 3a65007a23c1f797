"""Shot against recorded runs of the published code."""

from pathlib import Path

import numpy as np
import pytest

from kdst_adapt.testing import follow, recorded, recorded_request
from kdst_shot import ShotOptions
from kdst_shot.shot import Shot


@pytest.fixture
def shared() -> Path:
    """The folder of recorded runs and real data."""
    folder = recorded()
    if folder is None:
        pytest.skip("KDST_TEST_DATA names no folder of recorded runs")
    return folder


def test_shot_reproduces_the_published_run(shared: Path) -> None:
    options = ShotOptions(profile="published", layout="standard")
    method = Shot(recorded_request(shared), options)
    with np.load(shared / "oracles/adapt/shot.npz") as run:
        assert list(follow(method, run)) == [0, 1]
