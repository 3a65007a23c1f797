"""What is read of installed packages is kept for a process, and read anew where it has changed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kdst_core import regular
from kdst_core.plugins import provenance, registry
from tests.test_metadata import package


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what was changed just now be kept too; these tests give each change another file or length."""
    monkeypatch.setattr(regular, "SETTLED", -(10**15))
    monkeypatch.setattr(regular, "_KEPT", {})


def replaced(path: Path, text: str) -> None:
    """Put another file of the same times in the place of one."""
    before = path.stat()
    new = path.with_suffix(".new")
    new.write_text(text)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)


def counting(found: list[str]) -> Callable[[], int]:
    """Return what counts how often it was called."""

    def read() -> int:
        found.append("read")
        return len(found)

    return read


def test_a_package_that_is_edited_between_two_runs_has_another_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kdst_edited"
    folder.mkdir()
    (folder / "__init__.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = [provenance.content({"kdst_edited"})]
    assert provenance.content({"kdst_edited"}) == found[0]
    replaced(folder / "__init__.py", "x = 2\n")
    found.append(provenance.content({"kdst_edited"}))
    (folder / "__init__.py").write_text("x = 22\n")
    found.append(provenance.content({"kdst_edited"}))
    (folder / "more.txt").write_text("more")
    found.append(provenance.content({"kdst_edited"}))
    assert len(set(found)) == 4
    assert "" not in found


def test_a_package_that_is_installed_or_changed_in_between_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "fake_kept.py").write_text('"""A module."""\n')

    def told() -> dict[str, tuple[str, ...]]:
        return {p.name: p.problems for p in registry.discover() if p.package == "fake-kept"}

    assert told() == {}
    info = package(tmp_path, "fake-kept", "[kdst.invert]\nfirst = fake_kept\n")
    assert told() == told() == {"first": ()}
    replaced(info / "METADATA", (info / "METADATA").read_text().replace(">=0.1", ">=99"))
    assert "needs kdst-core" in told()["first"][0]
    replaced(info / "METADATA", (info / "METADATA").read_text().replace(">=99", ">=0.1"))
    assert told() == {"first": ()}
    (tmp_path / "fake_kept.py").unlink()
    assert "was not found" in told()["first"][0]
    (info / "METADATA").unlink()
    os.mkfifo(info / "METADATA")
    assert "is no regular file" in told()["first"][0]


def test_what_is_read_is_kept_while_files_and_what_is_beside_stay(tmp_path: Path) -> None:
    file, times = tmp_path / "a.txt", list[str]()
    file.write_text("a")
    ask = counting(times)
    assert [regular.kept("a", [file], ask, [1]) for _ in range(3)] == [1, 1, 1]
    assert regular.kept("a", [file], ask, [2]) == 2
    file.write_text("longer")
    assert regular.kept("a", [file], ask, [2]) == 3
    file.unlink()
    assert regular.kept("a", [file], ask, [2]) == 4


def test_what_changed_just_now_or_lies_in_no_file_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regular, "SETTLED", 10**15)
    file, times = tmp_path / "a.txt", list[str]()
    file.write_text("a")
    assert [regular.kept("a", [file], counting(times)) for _ in range(2)] == [1, 2]
    monkeypatch.setattr(regular, "SETTLED", -(10**15))
    assert [regular.kept("none", [], counting(times)) for _ in range(2)] == [3, 4]
