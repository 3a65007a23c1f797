"""What a sweep costs beside its methods: cases that do next to nothing, by their number.

    python benchmarks/sweep.py [--cases 250,500,1000] [--executor ray] [--workers 2]

Every case is a whole run of a method of plain Python: process, run directory, result, report. Memory is
the largest that the command's own process became. Run it from the root of the repository.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.fakes import letters

SWEEP = 'methods = ["letters"]\nseeds = "0-{last}"\n[options]\ntext = "a"\n'


def measure(cases: int, executor: str, workers: int) -> str:
    """Carry out one sweep and return its line."""
    with tempfile.TemporaryDirectory() as name:
        folder = letters(Path(name))
        (folder / "s.toml").write_text(SWEEP.format(last=cases - 1))
        words = [
            "-m",
            "kdst_core",
            "sweep",
            "s.toml",
            "--executor",
            executor,
            "--jobs",
            str(workers),
        ]
        began, peak = time.perf_counter(), 0.0
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": name},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.1)
        seconds = time.perf_counter() - began
        done = len(list(folder.glob("runs/*/result.json")))
    return f"{cases:6d} {done:6d} {seconds:8.1f} {1000 * seconds / cases:9.1f} {peak:9.0f}"


def resident(process: int) -> float:
    """Return the most memory that a process has held, in MiB."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def main() -> None:
    """Measure and print, a line a number of cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="250,500,1000")
    parser.add_argument("--executor", default="ray")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    print(" cases   done  seconds ms a case  peak MiB")
    for cases in map(int, given.cases.split(",")):
        print(measure(cases, given.executor, given.workers), flush=True)


if __name__ == "__main__":
    main()
