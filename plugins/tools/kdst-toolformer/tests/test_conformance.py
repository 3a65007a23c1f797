"""Toolformer passes the conformance kit."""

import pytest

from kdst_authors.testing import check_plugin, run_check
from kdst_core.runs.setup import setup_of

CHOSEN = setup_of("toolformer")
CHECKS = {check.name: check for check in CHOSEN.bench.checks(CHOSEN.method)}


@pytest.mark.parametrize("name", CHECKS)
def test_toolformer_passes_the_checks_of_its_capability(name):
    assert run_check(CHECKS[name]) is None


@pytest.mark.slow
def test_toolformer_conforms():
    check_plugin("toolformer")
