"""Tent against recorded runs of the published code."""

from pathlib import Path

import numpy as np
import pytest

from kdst_adapt.testing import follow, recorded, recorded_request
from kdst_tent import Options
from kdst_tent.method import Tent


@pytest.fixture
def shared() -> Path:
    """The folder of recorded runs and real data."""
    folder = recorded()
    if folder is None:
        pytest.skip("KDST_TEST_DATA names no folder of recorded runs")
    return folder


def test_tent_reproduces_the_published_run(shared: Path) -> None:
    options = Options(profile="published", layout="standard")
    method = Tent(recorded_request(shared), options)
    with np.load(shared / "oracles/adapt/tent.npz") as run:
        assert list(follow(method, run)) == [0, 1]
