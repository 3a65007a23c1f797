"""Vec2Text passes the conformance kit."""

import pytest
import torch

from kdst_authors.testing import check_plugin, run_check
from kdst_core.runs.setup import setup_of
from kdst_vec2text.pair import load_corrector

CHOSEN = setup_of("vec2text")
CHECKS = {check.name: check for check in CHOSEN.bench.checks(CHOSEN.method)}


@pytest.mark.parametrize("name", CHECKS)
def test_vec2text_passes_the_checks_of_its_capability(name: str) -> None:
    assert run_check(CHECKS[name]) is None


def test_loading_leaves_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    load_corrector()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_vec2text_conforms() -> None:
    check_plugin("vec2text")
