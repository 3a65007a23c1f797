"""What people expect of a command, and plugins that end the process that imports them."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from attrs import frozen
from click.testing import CliRunner

from kdst_authors.cli.check import command as check
from kdst_core import cli
from kdst_core.errors import KdstError
from kdst_core.options import Section, from_toml, items, option
from kdst_show import inspection
from tests import fakes, warm
from tests.fakes import kdst


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    """A folder with a bench and two methods of plain Python."""
    return fakes.letters(tmp_path)


def test_the_command_alone_prints_its_help() -> None:
    done = kdst()
    assert (done.returncode, done.stderr) == (0, "")
    assert "compare" in done.stdout


def test_run_alone_lists_the_methods(letters: Path) -> None:
    done = kdst("run", path=letters)
    assert (done.returncode, done.stderr) == (0, "")
    assert "letters" in done.stdout


def test_a_method_as_a_command_is_answered_with_run(letters: Path) -> None:
    done = kdst("letters", path=letters)
    assert done.returncode == 2
    assert "did you mean: kdst run letters" in done.stderr


@pytest.mark.parametrize(("value", "traced"), [("0", False), ("off", False), ("1", True)])
def test_tracing_is_off_where_it_is_said_so(letters: Path, value: str, traced: bool) -> None:
    words = ("run", "letters", "--out", "r", "-q")
    done = kdst(*words, path=letters, cwd=letters, KDST_TRACE=value)
    assert done.returncode == 0, done.stderr
    assert ("kdst: describe" in done.stderr or "kdst: invert" in done.stderr) is traced


def test_compare_completes_methods_and_options(letters: Path) -> None:
    for word, wanted in (("le", "letters"), ("--", "")):
        env = {"COMP_WORDS": f"kdst compare {word}", "COMP_CWORD": "2"}
        code = "from kdst_core.cli import cli; cli(prog_name='kdst')"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**env, "_KDST_COMPLETE": "bash_complete", "PYTHONPATH": str(letters)},
            check=False,
        )
        assert wanted in done.stdout
        assert done.returncode == 0


AT_CHECKPOINT = """
import os, signal, sys
from kdst_core.cli import main
from kdst_core.runs.rundir import Run

sign, save = int(sys.argv.pop(1)), Run.checkpoint
if sign == signal.SIGINT:
    signal.signal(sign, signal.default_int_handler)

def saving(self, state):
    save(self, state)
    os.kill(os.getpid(), sign)

Run.checkpoint = saving
main()
"""


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_ended_says_how_to_go_on_and_goes_on(
    letters: Path, sign: signal.Signals, code: int
) -> None:
    words = ["run", "letters", "--out", "r"]
    done = subprocess.run(
        [sys.executable, "-c", AT_CHECKPOINT, str(int(sign)), *words],
        capture_output=True,
        text=True,
        cwd=letters,
        env={"PYTHONPATH": str(letters)},
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "--out r --resume" in done.stderr
    assert "Traceback" not in done.stderr
    again = warm.kdst(*words, "--resume", path=letters, cwd=letters)
    assert again.returncode == 0, again.stderr
    assert json.loads((letters / "r/result.json").read_text())["input"]["seen"] == 3


@pytest.mark.parametrize("words", ["compare letters other --out c", "sweep s.toml --out c"])
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_comparison_or_sweep_that_is_ended_says_how_to_go_on_and_goes_on(
    letters: Path, words: str, sign: signal.Signals, code: int
) -> None:
    (letters / "s.toml").write_text("methods = ['letters', 'other']\n")
    done = fakes.ended(sign, *words.split(), path=letters)
    assert done.returncode == code, done.stderr
    assert "Continue by the same command" in done.stderr
    assert "Traceback" not in done.stderr
    again = warm.kdst(*words.split(), path=letters, cwd=letters)
    assert again.returncode == 0, again.stderr
    events = [p.read_text().splitlines() for p in letters.glob("runs/*/events.jsonl")]
    assert [len(lines) for lines in events] == [3, 3]


@frozen
class Options:
    """Options of a method."""

    sgld_steps: int = option(3, "Steps.")


def test_a_key_with_both_spellings_in_one_table_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[fake]\nsgld_steps = 1\nsgld-steps = 2\n")
    with pytest.raises(KdstError, match="twice, with '-' and with '_'"):
        from_toml(file, items(Section("Fake", "fake", Options)))


def test_what_is_neither_click_nor_typer_is_refused() -> None:
    made = click.Command("x")
    assert cli._as_click("x", made) is made
    with pytest.raises(KdstError, match="neither a click command nor a Typer app"):
        cli._as_click("x", object())


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("os._exit(0)", "with exit code 0"),
        ("os.kill(os.getpid(), 11)", "by SIGSEGV"),
        ("print('x' * 10)", ""),
        ("raise ValueError('told')", "told"),
    ],
)
def test_a_plugin_that_ends_its_process_is_told_and_harms_nobody(
    letters: Path, monkeypatch: pytest.MonkeyPatch, how: str, words: str
) -> None:
    file = letters / "fake_other.py"
    file.write_text(f"import os\n{how}\n" + file.read_text())
    monkeypatch.syspath_prepend(letters)
    bad, good = inspection.inspect_all("method", ["other", "letters"])
    assert good == []
    assert words in "".join(bad)
    assert bool(bad) is bool(words)
    assert inspection.inspect_all("method", ["other", "letters"] * 2) == [bad, good] * 2
    if "process" in "".join(bad):
        checked = CliRunner().invoke(check, ["other"])
        assert checked.exit_code == 1
        assert "ended the process" in checked.output


APP = """
import typer
app = typer.Typer()

@app.command()
def main(name: str = "you"):
    "Say hello."
    print("hello", name)
    if name == "nobody":
        raise typer.Exit(3)
"""


def test_a_typer_app_is_a_command(tmp_path: Path) -> None:
    pytest.importorskip("typer")
    info = tmp_path / "fake_app-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-app\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kdst.commands]\ngreet = fake_app:app\n")
    (tmp_path / "fake_app.py").write_text(APP)
    assert kdst("greet", "--name", "me", path=tmp_path).stdout == "hello me\n"
    assert "Say hello." in kdst("greet", "--help", path=tmp_path).stdout
    assert kdst("greet", "--name", "nobody", path=tmp_path).returncode == 3
    assert kdst("greet", "--nam", path=tmp_path).returncode == 2
