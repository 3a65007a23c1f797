"""zlib beside pycolmap, which replaces functions of it where it is imported first."""

import sys
from types import ModuleType

import pytest

from kdst_core.bench import compression
from kdst_core.errors import KdstError


@pytest.fixture
def pycolmap_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it look as if pycolmap was imported before zlib and PIL."""
    late = {n: sys.modules[n] for n in ("zlib", "PIL._imaging") if n in sys.modules}
    for name in ("pycolmap", *late):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "pycolmap", ModuleType("pycolmap"))
    for name, module in late.items():
        monkeypatch.setitem(sys.modules, name, module)


def test_without_pycolmap_or_after_zlib_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pycolmap", raising=False)
    assert not compression.zlib_is_broken()
    monkeypatch.setitem(sys.modules, "pycolmap", ModuleType("pycolmap"))
    assert not compression.zlib_is_broken()
    compression.refuse_broken_zlib(object())


def test_a_bench_that_compresses_is_refused_in_one_line(pycolmap_first: None) -> None:
    with pytest.raises(KdstError, match="Import kdst_core or zlib before pycolmap"):
        compression.refuse_broken_zlib(object())


def test_a_bench_that_spares_zlib_goes_on(pycolmap_first: None) -> None:
    class Bench:
        spares_zlib = True

    assert compression.zlib_is_broken()
    compression.refuse_broken_zlib(Bench())


@pytest.mark.plugins
def test_kernels_get_names_of_their_own_without_zlib(
    pycolmap_first: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from numba.core.targetconfig import TargetConfig

    monkeypatch.setattr(TargetConfig, "get_mangle_string", TargetConfig.get_mangle_string)
    compression.name_kernels_without_zlib()

    class Settings(TargetConfig):
        def __init__(self, text: str) -> None:
            self.text = text

        def summary(self) -> str:
            return self.text

    names = [TargetConfig.get_mangle_string(Settings(text)) for text in ("a", "b", "a")]
    assert names[0] == names[2] != names[1]
    assert names[0].isalnum()
