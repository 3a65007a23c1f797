"""Runs that are broken: no half-written file is taken for a result, and all go on or say a clear line."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import fakes
from tests.fakes import letters
from tests.warm import kdst

ROOT = Path(__file__).parent.parent


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A folder with a bench and two methods of plain Python."""
    return letters(tmp_path)


def trials(*words: str, path: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Carry out trials of `tests.faults` in a process of their own."""
    environment = {**os.environ}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-m", "tests.faults", *words],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        check=False,
    )


@pytest.mark.parametrize("kills", [12, pytest.param(60, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_as_if_undisturbed(fake: Path, kills: int) -> None:
    done = trials("--methods", "letters", "--kills", str(kills), "--seed", "100", path=fake)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0]) >= kills
    assert done.stdout.count("as undisturbed") > kills // 3


def test_runs_of_a_method_killed_at_random_moments_end_as_if_undisturbed() -> None:
    pytest.importorskip("kdst_adapt")
    done = trials("--methods", "norm", "--kills", "4", "--seed", "100")
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_every_method_survives_200_kills() -> None:
    pytest.importorskip("kdst_adapt")
    from tests.faults import RUNS

    names = [m for m in RUNS if m in kdst("plugins").stdout.split()]
    done = trials("--methods", ",".join(names), "--kills", "200")
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0]) >= 200


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted after its first checkpoint."""
    folder = letters(tmp_path_factory.mktemp("stopped"))
    done = kdst("run", "letters", "--text", "stop", "--out", "r", path=folder, cwd=folder)
    assert done.returncode == 130, done.stderr
    return folder / "r"


@pytest.fixture
def unfinished(fake: Path, stopped: Path) -> Path:
    """A copy of the interrupted run, beside the packages."""
    return shutil.copytree(stopped, fake / "r")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["checkpoint.0", "checkpoint.json", "events.jsonl"])
@pytest.mark.parametrize("damage", [_cut, _flip, Path.unlink])
def test_a_damaged_checkpoint_is_one_line_and_no_result(
    fake: Path, unfinished: Path, name: str, damage: Callable[[Path], None]
) -> None:
    run = unfinished
    damage(run / name)
    words = ["run", "letters", "--text", "stop", "--out", "r", "--resume"]
    done = kdst(*words, path=fake, cwd=fake)
    harmless = (name, damage) in (("events.jsonl", _flip), ("checkpoint.json", Path.unlink))
    if harmless:  # nothing depends on the text of old events; without a pointer the run begins anew
        assert done.returncode == 130, done.stderr
        return
    assert done.returncode == 2
    assert "cannot be read" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert not (run / "result.json").exists()


@pytest.mark.parametrize("name", ["events.jsonl", "env.json", "artifacts"])
def test_a_run_that_was_sent_is_continued_into_no_link(
    fake: Path, unfinished: Path, name: str
) -> None:
    run, mine = unfinished, fake / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("three weeks of notes\n")
    (run / name).rmdir() if name == "artifacts" else (run / name).unlink()
    (run / name).symlink_to(mine if name == "artifacts" else mine / "notes.txt")
    done = kdst("run", "letters", "--text", "stop", "--out", "r", "--resume", path=fake, cwd=fake)
    assert done.returncode == 2
    assert f"{name} is a link" in done.stderr
    assert [p.name for p in mine.iterdir()] == ["notes.txt"]
    assert (mine / "notes.txt").read_text() == "three weeks of notes\n"


def test_a_sweep_begins_a_case_with_a_damaged_checkpoint_anew(fake: Path) -> None:
    (fake / "s.toml").write_text("methods = ['letters']\n")
    assert kdst("sweep", "s.toml", path=fake, cwd=fake).returncode == 0
    (run,) = fake.glob("runs/letters-*")
    expected = json.loads((run / "result.json").read_text())["metrics"]
    (run / "result.json").unlink()
    (run / "checkpoint.json").write_text("{")
    done = kdst("sweep", "s.toml", path=fake, cwd=fake)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((run / "result.json").read_text())["metrics"] == expected


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of its own, whose size and rights can be changed."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() or _mount(place, "size=8k"):
        pytest.skip("needs to mount a tmpfs, so root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def _mount(place: Path, options: str) -> int:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_a_full_disk_is_one_line_at_whatever_file_and_the_run_goes_on(
    fake: Path, small: Path
) -> None:
    words = ["run", "letters", "--out", str(small / "r")]
    messages = []
    for pages in range(1, 32):
        _mount(small, f"remount,size={4 * pages}k")
        done = kdst(*words, "--resume", path=fake, cwd=fake)
        if done.returncode == 0:
            break
        assert done.returncode == 2, done.stderr
        assert "No space left on device" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not (small / "r/result.json").exists()
        messages.append(done.stderr)
    assert messages
    assert json.loads((small / "r/result.json").read_text())["metrics"] == {"count": 27.0}
    events = (small / "r/events.jsonl").read_text().splitlines()
    assert [json.loads(e)["step"] for e in events] == [1, 2, 3]


def test_a_read_only_directory_is_one_line(fake: Path, small: Path) -> None:
    _mount(small, "remount,size=1m")
    words = ["run", "letters", "--text", "stop", "--out", str(small / "r")]
    assert kdst(*words, path=fake, cwd=fake).returncode == 130
    _mount(small, "remount,ro")
    for extra in (["--resume"], ["--resume", "--out", str(small / "other")]):
        done = kdst(*words, *extra, path=fake, cwd=fake)
        assert done.returncode == 2
        assert "cannot write the run directory" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_two_processes_on_one_directory_make_one_run(fake: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(fake)}
    words = ["run", "letters", "--pace", "0.5", "--out", "r"]
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "kdst_core", *words],
            cwd=fake,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    errors = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2]
    (loser,) = [e for p, e in zip(both, errors, strict=True) if p.returncode]
    assert "another process is running" in loser or "which is never overwritten" in loser
    events = (fake / "r/events.jsonl").read_text().splitlines()
    assert [json.loads(e)["step"] for e in events] == [1, 2, 3]


@pytest.mark.plugins
def test_a_clock_that_goes_backwards_changes_nothing(fake: Path) -> None:
    (fake / "sitecustomize.py").write_text(
        "import itertools, time\n"
        "start, ticks = time.time(), itertools.count()\n"
        "time.time = lambda: start - 3600.0 * next(ticks)\n"
    )
    (fake / "s.toml").write_text("methods = ['letters']\nseeds = '0-2'\n")
    done = fakes.kdst("sweep", "s.toml", "--jobs", "2", path=fake, cwd=fake)
    assert done.returncode == 0, done.stderr
    for path in fake.glob("runs/letters-*/result.json"):
        result = json.loads(path.read_text())
        assert 0 <= result["seconds"] < 600
        assert result["metrics"] == {"count": 27.0 + 3 * result["seed"]}
