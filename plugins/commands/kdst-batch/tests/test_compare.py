"""`kdst compare`: the plan, the statistics, reuse, resuming, and workers that end with their parent."""

import csv
import html
import io
import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

import kdst_core
from kdst_batch import table
from kdst_batch.cli.compare import _laid_out
from kdst_batch.comparable import Column
from kdst_batch.compare import compare
from kdst_batch.digest import _stamp
from kdst_batch.entrants import parse_seeds
from kdst_batch.plan import variants
from kdst_core.errors import KdstError
from kdst_core.options import Given
from tests.fakes import ended, letters
from tests.warm import kdst

SMALL = ["--images", "40", "--types", "fog,contrast", "--batch-size", "20"]


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A folder with a bench and two methods of plain Python."""
    return letters(tmp_path)


def test_seeds_are_ranges_and_lists() -> None:
    assert parse_seeds("0-2,7") == [0, 1, 2, 7]
    for wrong in ("2-0", "a", "", "-1", "٣", "9" * 5000):
        with pytest.raises(KdstError, match="give 0, 0-2 or 1,5,7") as refused:
            parse_seeds(wrong)
        assert len(str(refused.value)) < 200
    for many in ("0-999999999999", "0-99999,100000", "1-" + "9" * 30):
        with pytest.raises(KdstError, match="are too many; at most 100,000"):
            parse_seeds(many)


def test_an_input_given_twice_varies() -> None:
    given = {f: [Given(v, f, Path()) for v in vs] for f, vs in (("--data", "ab"), ("--lr", "1"))}
    assert list(variants(given)) == ["--data a", "--data b"]


def test_the_usage_names_methods_before_options() -> None:
    usage = kdst("compare", "--help").stdout.splitlines()[0]
    assert usage.endswith(" compare METHOD... [OPTIONS]")
    assert usage.count("kdst") == 1


def test_the_interval_over_seeds_is_students() -> None:
    value = table.over_seeds([1.0, 2.0, 3.0])
    assert value.mean == 2
    assert value.half == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)
    assert table.over_seeds([5.0]).half is None
    untold = table.over_seeds([1.0, math.nan, 2.0])
    assert math.isnan(untold.mean)
    assert untold.half is None


def test_a_paired_test_is_two_sided_and_normal() -> None:
    test = table.paired_test(-0.02, 0.01)
    assert (test.low, test.high) == pytest.approx((-0.03959964, -0.00040036))
    assert test.p == pytest.approx(0.0455, abs=1e-4)
    assert table.paired_test(0.0, 0.0).p == 1


def test_the_best_of_a_column_is_bold_with_its_ties() -> None:
    columns = [Column("a", "A"), Column("b", "B", better="lower", digits=1)]
    rows = [
        table.Row("x", (table.Value(1, None), table.Value(2.01, None)), None),
        table.Row("y & z", (table.Value(3, 0.5), table.Value(2.04, None)), None),
    ]
    assert table.best_cells(rows, columns) == {(1, 0), (0, 1), (1, 1)}
    latex = table.to_latex({"": rows}, columns)
    assert r"y \& z & \textbf{3.00 $\pm$ 0.50} & \textbf{2.0}" in latex


@pytest.mark.plugins
def test_compare_reuses_runs_and_writes_table_and_report(tmp_path: Path) -> None:
    words = ["compare", "tent", "norm", "tea:sgld_steps=1,buffer_size=40", "--seeds", "0,1", *SMALL]
    first = kdst(*words, "--out", "c", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "best" in first.stdout
    runs = json.loads((tmp_path / "c/comparison.json").read_text())["runs"]
    assert len(runs) == 6
    stamps = {r: (tmp_path / r / "result.json").stat().st_mtime_ns for r in runs}
    again = kdst(*words, "--out", "c", "--jobs", "2", cwd=tmp_path)
    assert again.stdout == first.stdout
    assert stamps == {r: (tmp_path / r / "result.json").stat().st_mtime_ns for r in runs}
    rows = (tmp_path / "c/table.csv").read_text().splitlines()
    assert len(rows) == 4
    assert rows[0].startswith("inputs,method,accuracy.mean,accuracy.mean.interval")
    assert r"\toprule" in (tmp_path / "c/table.tex").read_text()
    page = (tmp_path / "c/report.html").read_text()
    for title in ("Accuracy by corruption", "Calibration"):
        assert title in page
    assert "Accuracy against cost" not in page, "four batches tell no cost"


@pytest.mark.plugins
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name the methods to compare"),
        (["tent", "tent"], "named twice"),
        (["tent", "3dgs"], "different capabilities"),
        (["tea:sgld_step=1"], "Did you mean"),
        (["tea:fast"], "is not option=value"),
        (["tent", "norm", "--profile", "fast"], "one of corrected, published"),
        (["tent", "norm", "--sgld-steps", "3"], "o such option"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_run(
    tmp_path: Path, words: list[str], message: str
) -> None:
    done = kdst("compare", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.plugins
def test_finished_runs_take_part_beside_methods(tmp_path: Path) -> None:
    small: dict[str, Any] = {"images": 40, "types": "fog", "batch_size": 20}
    a, b, shuffled = (str(tmp_path / n) for n in ("a", "b", "shuffled"))
    kdst_core.run("tent", out=a, lr=0.01, **small)
    kdst_core.run("tent", out=b, lr=0.01, seed=1, **small)
    kdst_core.run("norm", out=shuffled, order="shuffled", **small)
    found = compare([a, b, "norm"], out=tmp_path / "c", runs=tmp_path / "runs", **small)
    assert [row.label for row in found.groups[""]] == ["tent:lr=0.01", "norm"]
    runs = json.loads((tmp_path / "c/comparison.json").read_text())["runs"]
    assert [runs[d] for d in (a, b)] == ["tent:lr=0.01 seed 0", "tent:lr=0.01 seed 1"]
    for words, options, message in (
        ([a, shuffled], {}, "cannot be compared: order is stored in one and shuffled"),
        ([a, "norm"], {**small, "severity": ["4", "5"]}, "inputs that vary"),
        ([a, f"{tmp_path}/./a"], {}, "same method, options and seed"),
    ):
        with pytest.raises(KdstError, match=message):
            compare(words, out=tmp_path / "d", runs=tmp_path / "runs", **options)
    assert not (tmp_path / "d").exists()


@pytest.mark.plugins
def test_a_finished_run_that_does_not_fit_is_the_files_fault(tmp_path: Path) -> None:
    small: dict[str, Any] = {"images": 20, "types": "fog", "out": tmp_path / "a"}
    kdst_core.run("norm", **small)
    path = tmp_path / "a/result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "method": "source"}))
    (tmp_path / "a/artifacts/curves.json").write_text('{"methods": {}}')
    with pytest.raises(KdstError, match=r"a holds a result or an artifact that does not fit"):
        compare([str(tmp_path / "a")], out=tmp_path / "c")


@pytest.mark.plugins
def test_methods_that_draw_nothing_run_once_on_data_that_draw_nothing(tmp_path: Path) -> None:
    import numpy as np

    images = np.random.default_rng(0).random((40, 32, 32, 1)).astype(np.float32)
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(40) % 10)
    (tmp_path / "net.py").write_text(
        "from kdst_adapt.default.model import load\ndef digits():\n    return load()\n"
    )
    words = ["compare", "norm", "tea", "--sgld-steps", "1", "--seeds", "0-2", "--data", "npz:d.npz"]
    words += ["--model", "net:digits", "--batch-size", "20"]
    done = kdst(*words, "--out", "c", cwd=tmp_path, path=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = json.loads((tmp_path / "c/comparison.json").read_text())["runs"].values()
    assert sorted(runs) == ["norm seed 0", "tea seed 0", "tea seed 1", "tea seed 2"]


def test_a_killed_comparison_leaves_no_worker_and_continues(fake: Path) -> None:
    words = ["compare", "letters", "other", "--seeds", "0-2", "--jobs", "2", "--out", "c"]
    done = ended(signal.SIGKILL, *words, path=fake)
    assert done.returncode == -signal.SIGKILL
    assert list(fake.glob("runs/*/checkpoint.json"))
    assert not (fake / "c").exists()
    again = kdst(*words, path=fake, cwd=fake)
    assert again.returncode == 0, again.stderr
    assert len(json.loads((fake / "c/comparison.json").read_text())["runs"]) == 6
    events = [p.read_text().splitlines() for p in fake.glob("runs/*/events.jsonl")]
    assert [len(lines) for lines in events] == [3] * 6


LOST = {
    "abort": "seed 0: the worker process died 2 times (SIGABRT)",
    "leave": "seed 0: kdst-invert/letters failed with SystemExit: 0",
    "always": "seed 0: kdst-invert/letters failed with ValueError: it always fails",
}


def test_methods_that_die_or_fail_are_told_in_a_line_and_the_others_go_on(fake: Path) -> None:
    bad = {f"letters:fail={how}": line for how, line in LOST.items()}
    words = ["compare", *bad, "other", "--seeds", "0", "--jobs", "2", "--out", "c"]
    done = kdst(*words, path=fake, cwd=fake)
    assert done.returncode == 1, done.stderr
    failed = [text for text in done.stderr.splitlines() if text.startswith("Failed: ")]
    assert failed == [f"Failed: {name} has no result: {line}" for name, line in bad.items()]
    told = json.loads((fake / "c/comparison.json").read_text())
    assert told["lost"] == bad
    assert list(told["runs"].values()) == ["other seed 0"]
    page = html.unescape((fake / "c/report.html").read_text())
    for name, line in bad.items():
        assert f"{name} has no result: {line}" in page
    with (fake / "c/table.csv").open() as file:
        rows = {row["method"]: row["count"] for row in csv.DictReader(file)}
    assert rows == {"other": "54.0", **dict.fromkeys(bad, "")}
    quiet = kdst(*words, "-q", path=fake, cwd=fake)
    assert (quiet.returncode, quiet.stdout) == (1, "c\n")
    assert "letters:fail=abort has no result" in quiet.stderr


def test_a_method_that_loses_one_seed_or_one_input_is_left_out_of_that_table(fake: Path) -> None:
    source = (fake / "fake_other.py").read_text()
    dies = 'if run.seed == 1 and request == "ab":\n        os.kill(os.getpid(), 9)\n    return'
    (fake / "fake_other.py").write_text(source.replace("    return 2 *", f"    {dies} 2 *"))
    words = ["compare", "letters", "other", "--seeds", "0-1", "--text", "ab", "--text", "abc"]
    done = kdst(*words, "--out", "c", path=fake, cwd=fake)
    assert done.returncode == 1, done.stderr
    line = (
        "other --text ab has no result: seed 1: the worker process died 2 times"
        " (SIGKILL, as when memory runs out)"
    )
    assert f"Failed: {line}\n" in done.stderr
    with (fake / "c/table.csv").open() as file:
        rows = {(r["inputs"], r["method"]): r["count"] for r in csv.DictReader(file)}
    assert [key for key, count in rows.items() if not count] == [("--text ab", "other")]
    assert len(rows) == 4


def test_a_comparison_without_any_result_is_an_error_that_names_all(fake: Path) -> None:
    words = ["compare", "letters:fail=leave", "letters:fail=always", "--out", "c"]
    done = kdst(*words, path=fake, cwd=fake)
    assert done.returncode == 1
    first, *others = done.stderr.splitlines()[-3:]
    assert first == "Error: no method has a result"
    assert others == [f"letters:fail={how}: {LOST[how]}" for how in ("leave", "always")]
    assert not (fake / "c").exists()


def test_another_executor_is_asked_for_even_where_every_run_is_there(fake: Path) -> None:
    words = ["compare", "letters", "other", "--out", "c"]
    assert kdst(*words, path=fake, cwd=fake).returncode == 0
    done = kdst(*words, "--executor", "proceses", path=fake, cwd=fake)
    assert done.returncode == 2
    assert "Did you mean 'processes'" in done.stderr


def test_bad_input_ends_the_comparison(fake: Path) -> None:
    done = kdst("compare", "letters:fail=bad", "other", "--out", "c", path=fake, cwd=fake)
    assert done.returncode == 2
    assert "letters:fail=bad (seed 0): this input is bad" in done.stderr
    assert not (fake / "c").exists()


def test_a_table_too_wide_for_the_terminal_is_turned_round() -> None:
    out = io.StringIO()
    console = Console(width=40, file=out)
    words = [
        ["method", "accuracy", "calibration"],
        ["one", "1.0", "2.0"],
        ["another", "3.0", "4.0"],
    ]
    grid = [[Text(word) for word in row] for row in words]
    for width, first in ((40, "method   accuracy  calibration"), (28, "method       one  another")):
        console.width = width
        console.print(_laid_out(console, grid, ""))
        assert out.getvalue().splitlines()[0].rstrip() == first
        out.truncate(out.seek(0))


def test_what_lies_deep_in_a_folder_and_a_factory_are_part_of_a_runs_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = tmp_path / "data" / "cat" / "0.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"one")
    (tmp_path / "mine.py").write_text("def build(): ...\n")
    for value, change in (
        ("folder:data", lambda: image.write_bytes(b"other")),
        ("folder:data", lambda: image.rename(image.with_name("1.png"))),
        ("mine:build", lambda: (tmp_path / "mine.py").write_text("def build(): return 1\n")),
    ):
        before = _stamp(value)
        assert before
        assert before == _stamp(value)
        change()
        assert before != _stamp(value)
    assert not _stamp("nowhere:build")
    assert not _stamp("resnet20")
