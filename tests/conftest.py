"""Fixtures of the core's tests."""

import sys
from pathlib import Path

import pytest

from tests import fakes

sys.path.insert(0, str(Path(__file__).parent.parent))  # worker processes import tests.workers


@pytest.fixture
def faulty_plugins(tmp_path: Path) -> Path:
    """A folder with five faulty plugins, to go on the path beside the real ones."""
    fakes.faulty(tmp_path)
    return tmp_path
