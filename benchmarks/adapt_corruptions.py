"""CPU time of the fifteen corruptions at 224 pixels: one core, one random image, each severity given.

Run it in two checkouts to compare them: `OMP_NUM_THREADS=1 python benchmarks/adapt_corruptions.py`. A
first call of each is not counted; it fills tables that later calls use again.
"""

import argparse
import time

import numpy as np

from kdst_adapt.corruptions.corrupt import corrupt
from kdst_adapt.corruptions.table import CORRUPTIONS

SIDE = 224


def cost(name: str, severity: int, calls: int) -> float:
    """Return the median CPU time in ms of corrupting an image."""
    x = np.random.default_rng(0).random((SIDE, SIDE, 3), dtype=np.float32)
    times = []
    for index in range(calls + 1):
        begin = time.process_time()
        corrupt(x, name, severity, seed=0, index=index)
        times.append(1000 * (time.process_time() - begin))
    return float(np.median(times[1:]))


def main() -> None:
    """Print a row a type."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5, help="calls that are timed")
    parser.add_argument("--severity", type=int, nargs="*", default=[1, 3, 5])
    given = parser.parse_args()
    print("| type, ms |" + "".join(f" {s} |" for s in given.severity))
    print("| --- |" + " --- |" * len(given.severity))
    for name in CORRUPTIONS:
        cells = (f" {cost(name, s, given.calls):.1f} |" for s in given.severity)
        print(f"| `{name}` |" + "".join(cells))


if __name__ == "__main__":
    main()
