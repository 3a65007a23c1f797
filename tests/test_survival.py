"""Plugins that end the process that loads them or runs them: told in a line, never as success."""

import os
import sys
from pathlib import Path

import pytest

from kdst_core.errors import KdstError
from kdst_core.plugins import survival
from tests import fakes
from tests.fakes import kdst

ENDS = {
    "os._exit(0)": "with exit code 0",
    "posix._exit(0)": "with exit code 0",
    "os.kill(os.getpid(), 11)": "by SIGSEGV",
}


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    """A folder with a bench and two methods of plain Python."""
    return fakes.letters(tmp_path)


def spoil(letters: Path, line: str, before: str = '"""Counts') -> None:
    """Put a line that ends the process into the method `other`, before a text of it."""
    file = letters / "fake_other.py"
    text = file.read_text()
    assert text.count(before) == 1
    indent = before[: len(before) - len(before.lstrip())]
    file.write_text(
        "import os, posix\n" + text.replace(before, f"{indent}print('noise'); {line}\n{before}")
    )


@pytest.mark.parametrize(
    ("words", "how"),
    [
        *(("run other --out r", how) for how in ENDS),
        ("info other", "os._exit(0)"),
        ("compare letters other", "os._exit(0)"),
        ("sweep s.toml", "os._exit(0)"),
    ],
)
def test_a_method_that_ends_the_process_that_imports_it_is_refused_by_name(
    letters: Path, words: str, how: str
) -> None:
    (letters / "s.toml").write_text("methods = ['letters', 'other']\n")
    spoil(letters, how)
    done = kdst(*words.split(), path=letters, cwd=letters)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        f"Error: importing kdst-invert/other ended the process {ENDS[how]}"
    )
    assert len(done.stderr.splitlines()) == 2
    assert not (letters / "runs").exists()
    assert not (letters / "r").exists()


def test_a_method_whose_description_ends_the_process_is_refused(letters: Path) -> None:
    spoil(letters, "os._exit(0)", "    return Description(")
    done = kdst("run", "other", "--out", "r", path=letters, cwd=letters)
    assert done.returncode == 2
    assert "kdst-invert/other ended the process with exit code 0" in done.stderr


def test_a_run_that_is_resumed_is_refused_too_and_stays(letters: Path) -> None:
    (letters / "r").mkdir()
    (letters / "r/config.toml").write_text("[other]\n")
    spoil(letters, "os._exit(0)")
    done = kdst("run", "other", "--out", "r", "--resume", path=letters, cwd=letters)
    assert done.returncode == 2
    assert "ended the process" in done.stderr
    assert (letters / "r/config.toml").exists()


@pytest.mark.parametrize("call", ["os._exit(0)", "posix._exit(0)"])
def test_a_run_that_a_method_ends_is_no_success(letters: Path, call: str) -> None:
    spoil(letters, call, "    mark = ")
    done = kdst("run", "other", "--out", "r", path=letters, cwd=letters)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: kdst-invert/other failed with SystemExit: os._exit(0)")
    assert not (letters / "r/result.json").exists()


@pytest.mark.parametrize(
    "words", ["greet", "run letters --observe far", "compare letters other --executor far"]
)
def test_a_command_observer_or_executor_that_ends_the_process_is_told(
    letters: Path, words: str
) -> None:
    info = letters / "fake_far-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-far\nVersion: 1.0\n")
    groups = {"commands": "greet", "observers": "far", "executors": "far"}
    lines = (f"[kdst.{group}]\n{name} = fake_far:it\n" for group, name in groups.items())
    (info / "entry_points.txt").write_text("".join(lines))
    (letters / "fake_far.py").write_text('"""Far."""\nimport os\nos._exit(0)\n')
    done = kdst(*words.split(), path=letters, cwd=letters)
    assert done.returncode == 2
    assert "importing fake_far:it of fake-far ended the process with exit code 0" in done.stderr


def test_what_is_loaded_and_what_lives_on_is_not_refused() -> None:
    survival.refuse_dying("a", "b", "os", lambda: os._exit(0))
    loaded: list[int] = []
    survival.refuse_dying("a", "b", "no.such.module", lambda: loaded.append(sys.exit()))
    assert loaded == []


def test_a_copy_that_is_waited_for_no_longer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survival, "_can_copy", lambda: True)
    children: list[int] = []
    wait = os.waitpid

    def interrupted(child: int, options: int) -> tuple[int, int]:
        if not children:
            children.append(child)
            raise KeyboardInterrupt
        return wait(child, options)

    monkeypatch.setattr(os, "waitpid", interrupted)
    with pytest.raises(KeyboardInterrupt):
        survival.refuse_dying("a", "b", "no.such.module", lambda: __import__("time").sleep(60))
    with pytest.raises(ProcessLookupError):
        os.kill(children[0], 0)


def test_the_way_out_is_closed_in_this_process_only() -> None:
    leave = os._exit
    with pytest.raises(SystemExit, match=r"os\._exit\(0\)"), survival.exits_refused():
        os._exit(0)
    assert os._exit is leave
    with survival.exits_refused():
        child = os.fork()
        if not child:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_process_without_threads_alone_is_copied() -> None:
    survival.load_untried()
    try:
        survival.refuse_dying("a", "b", "no.such.module", lambda: os._exit(0))
    finally:
        survival._untried.clear()
    if survival._can_copy():
        with pytest.raises(KdstError, match="importing a ended the process with exit code 0"):
            survival.refuse_dying("a", "b", "no.such.module", lambda: os._exit(0))
