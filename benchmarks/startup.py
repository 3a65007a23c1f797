"""CPU time of `kdst --help` and `kdst plugins` as multiples of importing click, pluggy and attrs.

Run it where kdst is installed: `python benchmarks/startup.py`. Fake packages fill up to 15 plugins.
The commands take turns, and the medians of their user and system seconds are compared.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PLUGINS, ROUNDS = 15, 15
MODULE = '"""A plugin for the benchmark."""\n' + "# filler\n" * 60


def fill(folder: Path, count: int) -> None:
    """Write `count` installed packages with one plugin each."""
    for number in range(count):
        info = folder / f"kdst_fake{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: kdst-fake{number}\nVersion: 1.0\n"
            "Requires-Dist: kdst-core>=0.1,<0.2\n"
        )
        (info / "entry_points.txt").write_text(f"[kdst.adapt]\nfake{number} = kdst_fake{number}\n")
        (folder / f"kdst_fake{number}.py").write_text(MODULE)


def cpu_seconds(command: list[str], environment: dict[str, str]) -> float:
    """Return user and system seconds of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print the medians and their ratios."""
    kdst = str(Path(sys.executable).with_name("kdst"))
    commands = {
        "import click, pluggy, attrs": [sys.executable, "-c", "import click, pluggy, attrs"],
        "kdst --help": [kdst, "--help"],
        "kdst plugins": [kdst, "plugins"],
    }
    with tempfile.TemporaryDirectory() as folder:
        installed = subprocess.run([kdst, "plugins"], capture_output=True, text=True, check=True)
        fill(Path(folder), max(0, PLUGINS - len(installed.stdout.splitlines())))
        environment = {**os.environ, "PYTHONPATH": folder}
        times: dict[str, list[float]] = {name: [] for name in commands}
        for round_number in range(ROUNDS + 1):
            for name, command in commands.items():
                seconds = cpu_seconds(command, environment)
                if round_number:
                    times[name].append(seconds)
    base = statistics.median(times["import click, pluggy, attrs"])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name:<30} {1000 * median:6.0f} ms CPU   {median / base:4.2f}x")


if __name__ == "__main__":
    main()
