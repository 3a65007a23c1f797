"""The core with the commands alone: a method and a bench of plain Python."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import fakes, warm
from tests.fakes import kdst

MODULE = '''
"""Reverses texts."""
from pathlib import Path
from attrs import frozen
from kdst_core import Description, KdstError, hookimpl, option
from kdst_core.bench.contract import Outcome
from kdst_core.reports.blocks import ReportContent, Stat, Table
from kdst_core.runs.codecs import JsonCodec

@frozen
class Inputs:
    text: str = option("abc", "The text.")

@frozen
class Options:
    times: int = option(3, "How often.", min=1)

@hookimpl
def describe():
    return Description(summary="Reverses texts.", options=Options)

@hookimpl
def invert(request, options):
    return request[::-1] * options.times

@frozen
class Prepared:
    job: object
    device: str = "cpu"
    def execute(self, run):
        done = run.restore() or []
        if done:
            run.log("resumed", len(done), 0)
        for step in range(len(done), 3):
            with run.progress(1, "work") as advance:
                advance(1)
            done.append(self.job.method.call(self.job.inputs.text, self.job.options, run))
            run.log("length", len(done[-1]), step)
            run.checkpoint(done)
            if self.job.inputs.text == "stop":
                raise KeyboardInterrupt
        return Outcome({"length": float(len(done[0]))}, {}, {"seen": done}, ["<b>careful</b>"], ["ok"])

class Bench:
    capability = "invert"
    package = "fake-invert"
    inputs = Inputs
    live = frozenset()
    codec = JsonCodec()
    def prepare(self, job):
        if not job.inputs.text:
            raise KdstError("--text is empty")
        return Prepared(job)
    def report(self, result, directory):
        return ReportContent("sub", [Stat("n", "1")], [Table("T", ["a"], [["<i>"]])])

bench = Bench()
'''


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A folder with one method of the capability `invert` and its bench."""
    info = tmp_path / "fake_invert-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: fake-invert\nVersion: 1.0\nRequires-Dist: kdst-core>=0.1,<0.2\n"
    )
    (info / "entry_points.txt").write_text(
        "[kdst.invert]\nreverse = fake_invert\n[kdst.benches]\ninvert = fake_invert:bench\n"
    )
    (tmp_path / "fake_invert.py").write_text(MODULE)
    fakes.hide_others(tmp_path, "kdst-show")
    return tmp_path


def test_a_method_of_plain_python_runs_and_reports(fake: Path) -> None:
    done = kdst("run", "reverse", "--text", "xy", "--times", "2", "--out", "r", path=fake, cwd=fake)
    assert done.returncode == 0, done.stderr
    assert "Warning: <b>careful</b>" in done.stderr
    result = json.loads((fake / "r/result.json").read_text())
    assert result["input"] == {"text": "xy", "seen": ["yxyx"] * 3}
    assert result["command"] == "kdst run reverse --text xy --times 2"
    page = (fake / "r/report.html").read_text()
    assert "&lt;b&gt;careful" in page
    assert "<i>" not in page


def test_an_interrupted_run_continues_from_its_checkpoint(fake: Path) -> None:
    options = ["run", "reverse", "--text", "stop", "--out", "r"]
    for _ in range(3):
        done = kdst(*options, "--resume", path=fake, cwd=fake)
        assert done.returncode == 130
    assert kdst(*options, "--resume", path=fake, cwd=fake).returncode == 0
    events = (fake / "r/events.jsonl").read_text()
    assert [json.loads(e)["name"] for e in events.splitlines()].count("length") == 3


def test_bad_input_leaves_nothing_behind(fake: Path) -> None:
    done = kdst("run", "reverse", "--text", "", "--out", "r", path=fake, cwd=fake)
    assert (done.returncode, done.stderr) == (2, "Error: --text is empty\n")
    assert not (fake / "r").exists()


def test_info_shows_options_with_defaults(fake: Path) -> None:
    done = kdst("info", "reverse", path=fake)
    assert done.returncode == 0, done.stderr
    assert "Reverses texts." in done.stdout
    assert "--times INTEGER" in done.stdout
    assert "[default: 3]" in done.stdout


def test_a_run_brings_the_page_of_all_runs_up_to_date_where_that_is_installed(fake: Path) -> None:
    done = kdst("run", "reverse", path=fake, cwd=fake)
    assert (done.returncode, done.stdout.count("index.html")) == (0, 0), done.stderr
    assert "reverse" in (fake / "runs/index.html").read_text()
    assert kdst("runs", path=fake, cwd=fake).stdout.startswith("reverse-")


def test_without_what_shows_runs_they_run_all_the_same(fake: Path) -> None:
    fakes.hide_others(fake)
    done = kdst("run", "reverse", path=fake, cwd=fake)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "ok"), done.stderr
    assert not (fake / "runs/index.html").exists()
    told = kdst("runs", path=fake, cwd=fake)
    assert told.returncode == 2
    assert told.stderr.splitlines() == [
        "Error: no command 'runs' is installed.",
        "Install it: pip install kdst-show",
    ]


def test_an_unknown_flag_suggests_the_right_one(fake: Path) -> None:
    done = kdst("run", "reverse", "--tmes", "2", path=fake)
    assert done.returncode == 2
    assert "--tmes" in done.stderr
    assert "--times" in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_an_unknown_command_suggests_the_right_one() -> None:
    assert "Did you mean 'plugins'" in kdst("plugns").stderr


def test_a_capability_without_a_bench_says_what_to_install(fake: Path) -> None:
    (fake / "fake_invert-1.0.dist-info/entry_points.txt").write_text(
        "[kdst.invert]\nreverse = fake_invert\n"
    )
    assert "pip install kdst-invert" in kdst("run", "reverse", path=fake).stderr


def test_a_run_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = kdst("report", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere holds no run" in done.stderr


COMMAND = '''
"""Say something."""
import click

@click.command()
@click.argument("word")
def command(word):
    click.echo(word.upper())
'''


def add_command(folder: Path, name: str, package: str, target: str) -> None:
    """Install a package whose only entry point is a command."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[kdst.commands]\n{name} = {target}\n")
    (folder / "fake_say.py").write_text(COMMAND)


def test_a_package_adds_a_command(tmp_path: Path) -> None:
    add_command(tmp_path, "say", "fake-say", "fake_say:command")
    assert "say" in kdst("--help", path=tmp_path).stdout
    assert "Say something." in kdst("--help", path=tmp_path).stdout
    assert kdst("say", "loud", path=tmp_path).stdout == "LOUD\n"
    assert "Did you mean 'say'" in kdst("sai", path=tmp_path).stderr
    fakes.hide_others(tmp_path, "kdst-environments")
    assert "ok      command say" in warm.kdst("doctor", path=tmp_path).stdout


def test_a_package_cannot_take_a_command_of_the_core(tmp_path: Path) -> None:
    add_command(tmp_path, "plugins", "fake-say", "fake_say:command")
    fakes.hide_others(tmp_path)
    assert json.loads(kdst("plugins", "--json", path=tmp_path).stdout) == []
    assert "Say something." not in kdst("--help", path=tmp_path).stdout


def test_a_broken_command_is_one_line_and_hides_no_other(tmp_path: Path) -> None:
    add_command(tmp_path, "say", "fake-say", "no_such_module:command")
    done = kdst("say", path=tmp_path)
    assert done.returncode == 2
    assert "fake-say is broken: importing no_such_module:command failed" in done.stderr
    assert kdst("--help", path=tmp_path).returncode == 0
    fakes.hide_others(tmp_path, "kdst-environments")
    looked = warm.kdst("doctor", path=tmp_path)
    assert looked.returncode == 1
    assert "BROKEN  command say" in looked.stdout


def test_a_command_of_two_packages_is_refused(tmp_path: Path) -> None:
    add_command(tmp_path, "say", "fake-say", "fake_say:command")
    add_command(tmp_path, "say", "fake-other", "fake_say:command")
    told = kdst("say", "x", path=tmp_path).stderr
    assert "is registered by" in told
    assert "pip uninstall" in told


def test_a_published_command_that_is_not_installed_says_what_to_install() -> None:
    code = (
        "import sys; from unittest import mock; from kdst_core import cli;"
        "from kdst_core.plugins import registry;"
        "sys.argv = ['kdst', 'view', 'x'];"
        "mock.patch.object(registry, 'entry_points', lambda **kw: []).start(); cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "Error: no command 'view' is installed.",
        "Install it: pip install kdst-reconstruct",
    ]
