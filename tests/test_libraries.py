"""Libraries of models are silent while they load, and as before afterwards."""

import warnings

import pytest

from kdst_core.bench.libraries import silence_libraries

transformers = pytest.importorskip("transformers.utils.logging")
hub = pytest.importorskip("huggingface_hub.utils.logging")


def test_libraries_are_silent_inside_and_as_before_outside(
    recwarn: pytest.WarningsRecorder,
) -> None:
    before = transformers.get_verbosity(), hub.get_verbosity()
    transformers.set_verbosity_info()
    try:
        with silence_libraries():
            assert transformers.get_verbosity() == hub.get_verbosity() == transformers.ERROR
            assert not transformers.is_progress_bar_enabled()
            warnings.warn("a notice", stacklevel=1)
        assert transformers.get_verbosity() == transformers.INFO
        assert transformers.is_progress_bar_enabled()
    finally:
        transformers.set_verbosity(before[0])
    assert hub.get_verbosity() == before[1]
    assert not recwarn.list
