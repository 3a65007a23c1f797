"""Tests compute on one thread: small tensors are fastest so, and results do not depend on the machine.

Property tests try the same examples each time, and torch's own generator begins anew with each test, so
that what passes once passes again.
"""

import gc
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")


if importlib.util.find_spec("hypothesis"):
    from hypothesis import settings

    settings.register_profile("kdst", derandomize=True)
    settings.load_profile("kdst")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that answers for the processor."""
    parser.addoption(
        "--auto-precision",
        choices=("float32", "bfloat16"),
        help="what precision `auto` is in this process, whatever the processor multiplies faster",
    )


def pytest_collection_finish() -> None:
    """Leave the millions of objects of loaded libraries out of every later garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _auto_precision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Force the choice of `auto` where the option asks for it."""
    wanted = request.config.getoption("--auto-precision")
    if wanted and importlib.util.find_spec("kdst_invert"):
        answer = "kdst_invert.embedders.precision.bfloat16_pays"
        monkeypatch.setattr(answer, lambda *_, **__: wanted == "bfloat16")


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """Begin torch's own generator anew, so that no test draws what those before it have left."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _watched_in_forks() -> Iterator[None]:
    """Have the kit's watched processes be forks of two that have torch loaded, one a hash seed."""
    sys.path.append(str(Path(__file__).parent))
    from tests import warm

    needed = map(importlib.util.find_spec, ("torch", "kdst_authors"))
    if not warm.available() or not all(needed):
        yield
        return
    from kdst_authors import probe

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "_python", warm.python)
        yield
