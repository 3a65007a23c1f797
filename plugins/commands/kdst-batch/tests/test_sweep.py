"""`kdst sweep`: what a file plans, and that cases are skipped, tried again, resumed and collected."""

import csv
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from kdst_batch import state
from kdst_batch.cli.sweep import command
from kdst_batch.display import clock, line
from kdst_batch.file import read
from kdst_batch.state import Counts
from kdst_core.errors import KdstError
from kdst_core.reports import charts
from tests.fakes import ended, letters
from tests.warm import kdst


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A folder with a bench and two methods of plain Python."""
    return letters(tmp_path)


MANY = list(range(1, 286))
GRID = """
methods = ["letters", "other"]
seeds = "0-1"
[options]
threads = 1
[grid]
text = ["a", "bcd"]
letters.times = [1, 2]
[[case]]
name = "long"
method = "letters"
seeds = 7
times = 9
"""


def sweep(folder: Path, *words: str, text: str = GRID) -> "subprocess.CompletedProcess[str]":
    """Carry out a sweep of the fake methods."""
    (folder / "s.toml").write_text(text)
    return kdst("sweep", "s.toml", *words, path=folder, cwd=folder, FAKE_MARKS=str(folder))


def table(folder: Path) -> list[dict[str, str]]:
    """Return the rows of the table."""
    with (folder / "runs/sweep-s/table.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_grid_a_case_and_seeds_make_every_run_once(fake: Path) -> None:
    done = sweep(fake, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert "0 queued, 0 running, 13 done, 0 failed" in done.stdout
    rows = table(fake)
    counts = {(r["case"], r["method"], r["seed"], r["text"], r["times"]): r["count"] for r in rows}
    assert len(counts) == 13
    assert counts["", "letters", "1", "bcd", "2"] == str(3.0 * (6 + 1))
    assert counts["", "other", "0", "a", ""] == str(3.0 * 6)
    assert counts["long", "letters", "7", "", ""] == str(3.0 * (27 + 7))
    assert r"\toprule" in (fake / "runs/sweep-s/table.tex").read_text()
    page = (fake / "runs/sweep-s/report.html").read_text()
    assert ("count by text" in page) is charts.available()
    assert "13 of 13" in page


def test_finished_cases_are_skipped_and_the_table_is_the_same(fake: Path) -> None:
    assert sweep(fake).returncode == 0
    stamps = {p: p.stat().st_mtime_ns for p in fake.glob("runs/*/result.json")}
    first = table(fake)
    assert sweep(fake, "--jobs", "2").returncode == 0
    assert stamps == {p: p.stat().st_mtime_ns for p in fake.glob("runs/*/result.json")}
    assert table(fake) == first


def test_failing_cases_are_tried_again_and_told_with_their_last_lines(fake: Path) -> None:
    text = """
methods = ["letters"]
[grid]
fail = ["", "once", "die", "always", "bad"]
"""
    done = sweep(fake, "--jobs", "2", text=text)
    assert done.returncode == 1
    assert "3 done, 2 failed" in done.stdout
    assert "failed after 3: letters fail=always seed=0" in done.stdout
    assert "it always fails" in done.stdout
    assert "failed after 1: letters fail=bad seed=0" in done.stdout
    status = sweep(fake, "--status", text=text)
    assert "0 queued, 0 running, 3 done, 2 failed" in status.stdout
    assert "this input is bad" in status.stdout


def test_a_killed_sweep_says_how_far_it_is_and_goes_on(fake: Path) -> None:
    text = 'methods = ["letters"]\nseeds = "0-3"\n'
    (fake / "s.toml").write_text(text)
    killed = ended(signal.SIGKILL, "sweep", "s.toml", "--jobs", "2", path=fake)
    assert killed.returncode == -signal.SIGKILL
    assert list(fake.glob("runs/letters-*/checkpoint.json"))
    status = sweep(fake, "--status", text=text).stdout.splitlines()
    assert status[0].endswith("0 done, 0 failed")
    assert any(text.startswith("running") for text in status[1:])
    done = sweep(fake, "--jobs", "2", text=text)
    assert done.returncode == 0, done.stderr
    assert "4 done" in done.stdout
    events = [p.read_text() for p in fake.glob("runs/letters-*/events.jsonl")]
    assert [len(e.splitlines()) for e in events] == [3] * 4
    assert not list(fake.glob("runs/sweep-s/cases/*.running"))


def test_cases_that_crash_are_told_and_the_others_go_on(fake: Path) -> None:
    text = 'methods = ["letters"]\n[grid]\nfail = ["", "abort", "leave"]\n'
    done = sweep(fake, "--retries", "0", text=text)
    assert done.returncode == 1
    assert "1 done, 2 failed" in done.stdout
    page = (fake / "runs/sweep-s/report.html").read_text()
    for said in ("the worker process died 2 times (SIGABRT)", "failed with SystemExit: 0"):
        assert said in done.stdout
        assert said in page
    assert [row["fail"] for row in table(fake)] == [""]


@pytest.mark.parametrize("words", ["--cpus-each nan", "--gpus-each inf", "--gpus-each -1"])
def test_a_share_of_a_machine_is_a_number(fake: Path, words: str) -> None:
    (fake / "s.toml").write_text("methods = ['letters']\n")
    done = CliRunner().invoke(command, [str(fake / "s.toml"), "--status", *words.split()])
    assert done.exit_code == 2
    assert f"Invalid value for '{words.split()[0]}'" in done.output


def test_parquet_holds_the_rows_of_the_csv(fake: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    assert sweep(fake).returncode == 0
    rows = pq.read_table(fake / "runs/sweep-s/table.parquet").to_pylist()
    assert [r["count"] for r in rows] == [float(r["count"]) for r in table(fake)]


def test_collecting_before_any_result_is_no_error(fake: Path) -> None:
    done = sweep(fake, "--collect")
    assert done.returncode == 0
    assert "13 queued" in done.stdout
    assert not (fake / "runs").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metods = ['letters']", "Did you mean 'methods'"),
        ("methods = 'letters'", "methods must be a list of names"),
        ("", "names no methods"),
        ("methods = ['letters']\n[grid]\ntext = 'a'", "give a list of values, not 'a'"),
        ("methods = ['letters']\n[grid]\ntime = [1]", "Did you mean '--times'"),
        ("methods = ['letters']\n[grid]\nseed = [1]", "write seeds = [0, 1] at the top"),
        ("methods = ['letters']\n[grid]\ntimes = [1, 'x']", "'x' is not a whole number"),
        ("methods = ['letters']\n[list]\ntimes = [1]\ntext = ['a', 'b']", "times 1, text 2"),
        ("methods = ['letters']\nseeds = '2-1'", "give 0, '0-2' or [0, 1]"),
        ("methods = ['lettrs']", "Did you mean 'letters'"),
        ("[[case]]\nname = 'a'", "needs a name and a method"),
        ("methods = ['letters']\nseeds = '0-9999999999'", "seeds = '0-9999999999' are too many"),
        (
            f"methods = ['letters']\nseeds = '0-9'\n[grid]\ntimes = {MANY}\nthreads = {MANY}",
            "plans 812,250 cases",
        ),
        (2 * "[[case]]\nname = 'a'\nmethod = 'letters'\n", "two cases are named 'a'"),
    ],
)
def test_a_wrong_file_is_one_line_and_nothing_is_run(
    fake: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    import importlib

    from kdst_batch.sweep import plan

    (fake / "s.toml").write_text(text)
    monkeypatch.syspath_prepend(str(fake))
    monkeypatch.chdir(fake)
    importlib.invalidate_caches()
    with pytest.raises(KdstError) as error:
        plan("s.toml", None, "runs")
    assert message in str(error.value)
    assert not (fake / "runs").exists()


def test_lists_go_in_step(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        "methods = ['m']\n[grid]\na = [1, 2]\n[list]\nb = [3, 4]\nc = [5, 6]\n"
    )
    (block,) = read(tmp_path / "s.toml").blocks
    found = [
        {k: v for k, (v, _) in c.items()} for c in block.combinations("m", {"--a", "--b", "--c"})
    ]
    assert found == [{"--a": a, "--b": b, "--c": c} for a in (1, 2) for b, c in ((3, 5), (4, 6))]


def test_numbers_are_told_as_people_read_them() -> None:
    assert [clock(s) for s in (None, 41.6, 190, 7500)] == ["–", "42 s", "3:10", "2:05:00"]
    counts = Counts(19, 2, 3, 0, 42.0)
    assert line(counts) == "cases: 19 queued, 2 running, 3 done, 0 failed, 42 s left"
    assert counts.total == 24


@pytest.mark.parametrize("text", ["", "[]", '{"error": 1}', "[" * 99_999])
def test_a_record_of_a_failure_that_is_none_is_refused_in_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(KdstError, match="says of no case how it failed"):
        state._failure(path)
