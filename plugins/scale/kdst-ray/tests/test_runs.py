"""Runs whose shards are worked on by other processes or by Ray are those of one process, also when a
worker is killed in the middle; every test starts the command itself."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

RUNS = {
    "toolformer": (
        *("--documents", "24", "--shard", "2", "--stage", "filter"),
        *("--problems", "none", "--held-out-count", "1"),
    ),
    "vec2text": ("--count", "12", "--block", "1", "--steps", "2", "--beam", "2", "--no-controls"),
}
FILES = {
    "toolformer": ("calls.jsonl", "annotations.jsonl", "counts.json"),
    "vec2text": ("inversions.jsonl", "scores.json", "examples.json"),
}
WORKERS = {"processes": "LokyProcess", "ray": "MapWorker"}
SECONDS = 500


def start(method: str, out: Path, *words: str) -> "subprocess.Popen[str]":
    """Begin a run on one thread."""
    command = [sys.executable, "-m", "kdst_core", "run", method, *RUNS[method], *words]
    return subprocess.Popen(
        [*command, "--out", str(out), "-q"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> None:
    """Wait for a run that must end well."""
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors


def commands() -> Iterator[tuple[int, int, str]]:
    """Yield number, parent and command line of every process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        yield int(folder.name), parent, words


def below(number: int, mark: str) -> list[int]:
    """Return the processes under one whose command line has a mark."""
    found, everything = {number}, list(commands())
    for _ in range(4):
        found |= {child for child, parent, _ in everything if parent in found}
    return [n for n, _, words in everything if n in found and mark in words and n != number]


def kill_a_worker(process: "subprocess.Popen[str]", out: Path, mark: str) -> int:
    """Kill one worker once some parts are there; return how many."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        done = len(list(out.rglob("part-*.jsonl")))
        busy = [n for n in below(process.pid, mark) if "IDLE" not in cmdline(n)]
        if done >= 2 and busy:
            os.kill(busy[0], signal.SIGKILL)
            return done
        time.sleep(0.02)
    return 0


def cmdline(number: int) -> str:
    """Return the command line of a process, empty where it is gone."""
    return next((words for n, _, words in commands() if n == number), "IDLE")


def left(directory: Path, method: str) -> tuple[dict[str, Any], list[bytes]]:
    """Return the metrics that do not measure the machine, and the bytes of events and artifacts."""
    result = json.loads((directory / "result.json").read_text())
    metrics = {k: v for k, v in result["metrics"].items() if "second" not in k}
    files = [directory / "events.jsonl", *(directory / "artifacts" / n for n in FILES[method])]
    return metrics, [file.read_bytes() for file in files]


@pytest.mark.slow
@pytest.mark.parametrize("method", RUNS)
@pytest.mark.parametrize("executor", WORKERS)
def test_a_run_on_workers_of_which_one_is_killed_is_that_of_one_process(
    method: str, executor: str, tmp_path: Path
) -> None:
    pytest.importorskip(f"kdst_{method}")
    finish(start(method, tmp_path / "one"))
    run = start(method, tmp_path / "two", "--executor", executor, "--jobs", "2")
    assert kill_a_worker(run, tmp_path / "two", WORKERS[executor])
    finish(run)
    assert left(tmp_path / "one", method) == left(tmp_path / "two", method)
    assert not list((tmp_path / "two").rglob("part-*"))


@pytest.mark.slow
@pytest.mark.parametrize("method", RUNS)
def test_a_command_with_workers_that_is_killed_goes_on(method: str, tmp_path: Path) -> None:
    pytest.importorskip(f"kdst_{method}")
    finish(start(method, tmp_path / "one"))
    run = start(method, tmp_path / "two", "--jobs", "2")
    deadline = time.monotonic() + SECONDS
    while len(list((tmp_path / "two").rglob("part-*.jsonl"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    run.kill()
    run.wait()
    finish(start(method, tmp_path / "two", "--resume", "--jobs", "2"))
    assert left(tmp_path / "one", method) == left(tmp_path / "two", method)
