"""Environments of `--with`: what is kept, what is left by a kill, and which command is carried out."""

import os
import shutil
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import click
import pytest
from click.testing import CliRunner

from kdst_core.errors import KdstError
from kdst_core.plugins.elsewhere import Place
from kdst_environments import installing, overlay, with_packages


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of environments, each of which is made of one file."""
    monkeypatch.setenv("KDST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(overlay, "_make", lambda folder, _: (folder / overlay.LOCK).touch())
    return tmp_path / "cache/environments"


def test_what_a_kill_left_goes_when_the_environment_is_made(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = overlay.key("kdst-tea")
    half = cache / f".{key}.12345"
    other = cache / ".0123456789abcdef.12345"
    for folder in (half, other):
        (folder / "bin").mkdir(parents=True)
    folder, _ = overlay.environment("kdst-tea")
    assert folder == cache / key
    assert not half.exists()
    assert other.exists()  # another process may be at it
    assert "Making an environment for kdst-tea" in capsys.readouterr().err


def test_one_that_is_kept_is_only_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = overlay.environment("kdst-tea")
    before = sorted(cache.rglob("*"))
    for file in cache.glob("*.lock"):
        file.unlink()
        before.remove(file)
    assert overlay.environment("kdst-tea") == first
    assert sorted(cache.rglob("*")) == before


def test_its_interpreter_is_found_from_every_directory(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDST_CACHE", "near")
    assert overlay.environment("kdst-tea")[1].python.startswith(str(tmp_path / "near"))


def test_a_faulty_package_beside_does_not_keep_it_from_being_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "faulty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_bytes(b"Name: \xff\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert overlay.key("kdst-tea") == overlay.key("kdst-tea")


def test_a_project_with_a_file_of_any_name_has_a_digest(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.py")).touch()
    assert overlay.content(tmp_path)


@pytest.mark.parametrize("pip", [True, False])
def test_pip_is_called_by_the_new_interpreter_and_brought_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pip: bool
) -> None:
    calls: list[list[str]] = []

    def asked(command: list[str]) -> CompletedProcess[str]:
        calls.append(command)
        (tmp_path / "lib/python3/site-packages").mkdir(parents=True, exist_ok=True)
        return CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(installing, "asked", asked)
    monkeypatch.setattr(overlay, "find_spec", lambda _: object() if pip else None)
    overlay._make(tmp_path, "kdst-tea")
    venv, install = calls
    assert ("--without-pip" in venv) == pip
    assert install[:4] == [str(tmp_path / "bin/python"), "-P", "-m", "pip"]


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list of what is installed and of what is carried out."""
    seen: list[Any] = []

    def environment(requirement: str) -> tuple[Path, Place]:
        seen.append(requirement)
        return Path("absent"), Place("/env/python", "")

    def carry_out(words: list[str]) -> int:
        seen.append(words)
        return 3

    monkeypatch.setattr(overlay, "environment", environment)
    monkeypatch.setattr(with_packages, "passed_on", carry_out)
    return seen


def invoke(*words: str, **settings: Any) -> Any:
    return CliRunner().invoke(with_packages.command, words, **settings)


def test_a_published_name_is_no_folder_beside(
    passed: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("tea", "kdst-tent", "own"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pyproject.toml").touch()
    for name in ("tea", "kdst-tent", "./tea", "own"):
        invoke(name, "--", "run", "tea")
    assert passed[::2] == ["kdst-tea", "kdst-tent", str(tmp_path / "tea"), str(tmp_path / "own")]


def test_a_package_twice_is_one_and_several_are_refused_before_any_is_made(
    passed: list[Any],
) -> None:
    done = invoke("tea", "tea", "--", "run", "tea")
    assert done.exit_code == 3
    assert passed == ["kdst-tea", ["/env/python", "-P", "-m", "kdst_core", "run", "tea"]]
    del passed[:]
    refused = invoke("tea", "tent", "--", "run", "tea")
    assert isinstance(refused.exception, KdstError)
    assert passed == []


def test_tracebacks_are_asked_of_it_too(passed: list[Any]) -> None:
    from kdst_core.cli import cli

    CliRunner().invoke(cli, ["--debug", "with", "tea", "--", "run", "tea"])
    assert passed[-1][3:] == ["kdst_core", "--debug", "run", "tea"]


def test_the_exit_code_of_what_is_planned_here_is_kept(
    passed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    @click.pass_context
    def compare(ctx: click.Context) -> None:
        ctx.exit(4)

    monkeypatch.setattr(with_packages, "load_command", lambda _: compare)
    assert invoke("tea", "--", "compare").exit_code == 4


def test_a_package_in_two_environments_is_carried_out_in_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    monkeypatch.setattr(with_packages, "PLACES", places := {})
    made = []
    for name in ("first", "second"):
        info = tmp_path / name / "lib/python3/site-packages/fake_twice-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-twice\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[kdst.adapt]\ntwice = fake_twice\n")
        shutil.copytree(info, info.with_name("nameless-1.0.dist-info"))
        (info.with_name("nameless-1.0.dist-info") / "METADATA").write_bytes(b"Name: \xff")
        made.append((tmp_path / name, Place(f"/{name}/python", "")))
    with_packages._look_there(made)
    assert places["fake-twice"] == made[0][1]
    assert places["nameless"] == made[0][1]
