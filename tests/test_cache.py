"""Where things that can be made again are kept."""

from pathlib import Path

import pytest

from kdst_core.cache import user_cache
from kdst_core.errors import KdstError


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({"KDST_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a/x"),
        ({"KDST_CACHE": "", "XDG_CACHE_HOME": "/b"}, "/b/kdst/x"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/kdst/x"),
        ({}, "/home/me/.cache/kdst/x"),
    ],
)
def test_kdst_cache_beats_xdg_and_a_relative_xdg_does_not_count(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: str
) -> None:
    for name in ("KDST_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert user_cache("x") == Path(wanted)


def test_a_relative_cache_is_where_the_command_began(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KDST_CACHE", "kept")
    monkeypatch.chdir(tmp_path)
    assert user_cache("x") == tmp_path / "kept/x"


def test_a_cache_in_the_home_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDST_CACHE", "~nobody-of-this-name/x")
    with pytest.raises(KdstError, match="KDST_CACHE is '~nobody-of-this-name/x'"):
        user_cache("x")
