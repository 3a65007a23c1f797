"""Fixtures of the core's tests."""

import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests import fakes

sys.path.insert(0, str(Path(__file__).parent.parent))  # worker processes import tests.workers


@pytest.fixture
def faulty_plugins(tmp_path: Path) -> Path:
    """A folder with five faulty plugins, to go on the path beside the real ones."""
    fakes.faulty(tmp_path)
    return tmp_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the repository's plugins where the core is installed without them."""
    if "kdst-tea" in {e.dist.name for e in entry_points(group="kdst.adapt") if e.dist}:
        return
    reason = "needs the repository's plugins; only the core is installed"
    for item in items:
        if item.get_closest_marker("plugins"):
            item.add_marker(pytest.mark.skip(reason=reason))
