"""What a comparison of adaptation saves when source and norm are computed once for a stream.

python -m benchmarks.baselines_once [--images N] [--severity 2 3 4 5] [--rounds N] METHOD...

Compares the methods on one stream a severity, with kept baselines and without, in turns, each
comparison in a process of its own; prints the CPU time of the whole comparisons, workers included, the
runs' own seconds, their ratios, and whether all figures but times are equal.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from kdst_batch import plan
from kdst_batch.compare import compare

METHODS = ["tent", "pl", "shot", "eta", "eata", "sar", "norm", "source"]
TIMED = ("seconds", "cost", "memory")


def compared(methods: list[str], place: Path, once: bool, options: dict[str, Any]) -> None:
    """Carry out a comparison in an empty folder; once: whether baselines are kept for other runs."""
    kept = plan._sharing
    with mock.patch.object(plan, "_sharing", side_effect=kept if once else lambda *_: {}):
        compare(methods, out=place / "c", runs=place / "runs", **options)


def measured(methods: list[str], place: Path, once: bool, options: dict[str, Any]) -> float:
    """Return the CPU seconds of a comparison in a fresh process, those of its workers included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = multiprocessing.get_context("spawn").Process(
        target=compared, args=(methods, place, once, options)
    )
    child.start()
    child.join()
    if child.exitcode:
        raise SystemExit(child.exitcode)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime


def seconds(place: Path) -> float:
    """Return the seconds of all runs of a comparison together, as they tell them."""
    runs = json.loads((place / "c/comparison.json").read_text())["runs"]
    return sum(json.loads(Path(r, "result.json").read_text())["seconds"] for r in runs)


def figures(place: Path) -> dict[str, dict[str, Any]]:
    """Return the metrics of every run of a comparison, those of time left out."""
    runs = json.loads((place / "c/comparison.json").read_text())["runs"]
    found = {}
    for folder, label in runs.items():
        metrics = json.loads(Path(folder, "result.json").read_text())["metrics"]
        found[label] = {k: v for k, v in metrics.items() if not any(t in k for t in TIMED)}
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--images", type=int, default=None)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--types", default="fog,contrast,gaussian_noise")
    parser.add_argument("--severity", nargs="*", default=["2", "3", "4", "5"])
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    options = {"types": asked.types, "batch_size": asked.batch_size, "severity": asked.severity}
    if asked.images:
        options["images"] = asked.images
    times: dict[bool, list[float]] = {True: [], False: []}
    own: dict[bool, list[float]] = {True: [], False: []}
    same = True
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as folder:
            places = {once: Path(folder, str(once)) for once in (True, False)}
            for once, place in places.items():
                times[once].append(measured(asked.methods, place, once, options))
                own[once].append(seconds(place))
            same &= figures(places[True]) == figures(places[False])
    for what, found in (("comparison, CPU", times), ("runs alone", own)):
        a, b = (statistics.median(found[once]) for once in (True, False))
        print(f"{what}: once for a stream {a:.1f} s, for each run {b:.1f} s, ratio {b / a:.2f}")
    print("figures equal" if same else "FIGURES DIFFER")


if __name__ == "__main__":
    main()
