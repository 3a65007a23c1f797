"""Toolformer passes the conformance kit."""

import pytest

from kdst_core.testing import check_plugin


@pytest.mark.slow
def test_toolformer_conforms():
    check_plugin("toolformer")
