"""What a comparison of adaptation saves when source and norm are computed once for a stream.

python -m benchmarks.baselines_once [--images N] [--severity 2-5] [--batch-size N] METHOD...

Compares the methods on one stream a severity, with kept baselines and without, in turn; prints the
times, their ratio, and whether all figures but times are equal.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

from kdst_batch import plan
from kdst_batch.compare import compare

METHODS = ["tent", "pl", "shot", "eta", "eata", "sar", "norm", "source"]
TIMED = ("seconds", "cost", "memory")


def measured(methods: list[str], severities: list[str], place: Path, **small: Any) -> float:
    """Return the seconds of a comparison in an empty folder."""
    begun = time.perf_counter()
    compare(methods, out=place / "c", runs=place / "runs", severity=severities, **small)
    return time.perf_counter() - begun


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
    asked = parser.parse_args()
    small = {"types": asked.types, "batch_size": asked.batch_size}
    if asked.images:
        small["images"] = asked.images
    with tempfile.TemporaryDirectory() as folder:
        once, each = Path(folder, "once"), Path(folder, "each")
        kept = measured(asked.methods, asked.severity, once, **small)
        with mock.patch.object(plan, "_sharing", return_value={}):
            anew = measured(asked.methods, asked.severity, each, **small)
        same = figures(once) == figures(each)
        runs = seconds(once), seconds(each)
    for what, (a, b) in (("comparison", (kept, anew)), ("runs alone", runs)):
        print(f"{what}: once for a stream {a:.1f} s, for each run {b:.1f} s, ratio {b / a:.2f}")
    print("figures equal" if same else "FIGURES DIFFER")


if __name__ == "__main__":
    main()
