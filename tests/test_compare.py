"""`kdst compare`: the plan, the statistics, reuse, resuming, and workers that end with their parent."""

import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

import kdst_core
from kdst_core.bench import Column
from kdst_core.cli.compare import _laid_out
from kdst_core.compare import compare, table
from kdst_core.compare.plan import parse_seeds, variants
from kdst_core.errors import KdstError
from kdst_core.options import Given
from tests.fakes import kdst

pytestmark = pytest.mark.plugins

SMALL = ["--images", "40", "--types", "fog,contrast", "--batch-size", "20"]


def test_seeds_are_ranges_and_lists() -> None:
    assert parse_seeds("0-2,7") == [0, 1, 2, 7]
    for wrong in ("2-0", "a", "", "-1"):
        with pytest.raises(KdstError, match="give 0, 0-2 or 1,5,7"):
            parse_seeds(wrong)


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
    assert (test.low, test.high) == pytest.approx((-0.0396, -0.0004))
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


def test_methods_that_draw_nothing_run_once_on_data_that_draw_nothing(tmp_path: Path) -> None:
    import numpy as np

    images = np.random.default_rng(0).random((40, 32, 32, 1)).astype(np.float32)
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(40) % 10)
    (tmp_path / "net.py").write_text(
        "from kdst_adapt.digits.model import load\ndef digits():\n    return load()\n"
    )
    words = ["compare", "norm", "tea", "--sgld-steps", "1", "--seeds", "0-2", "--data", "npz:d.npz"]
    words += ["--model", "net:digits", "--batch-size", "20"]
    done = kdst(*words, "--out", "c", cwd=tmp_path, path=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = json.loads((tmp_path / "c/comparison.json").read_text())["runs"].values()
    assert sorted(runs) == ["norm seed 0", "tea seed 0", "tea seed 1", "tea seed 2"]


def test_a_killed_comparison_continues_and_leaves_no_worker(tmp_path: Path) -> None:
    words = ["compare", "tea", "norm", "--seeds", "0-2", "--images", "100", "--types", "fog"]
    words += ["--jobs", "2", "--out", "c", "--sgld-steps", "15"]
    command = [sys.executable, "-m", "kdst_core", *words]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not list(tmp_path.glob("runs/*/events.jsonl")):
        time.sleep(0.1)
    workers = _children(process.pid)
    assert workers
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "c").exists()
    deadline = time.monotonic() + 100  # a busy machine may have used up the first one
    while any(Path(f"/proc/{w}").exists() for w in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{w}").exists() for w in workers)
    done = kdst(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "c/comparison.json").read_text())["runs"]) == 6


def _children(parent: int) -> list[int]:
    """Return the processes that a process started."""
    try:
        text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    except OSError:
        pytest.skip("needs /proc")
    return [int(word) for word in text.split()]


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
