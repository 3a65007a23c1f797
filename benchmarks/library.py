"""CPU time of TEA's batches through `kdst_core.load`, as a multiple of the method's own `predict`.

python benchmarks/library.py [--batches 15] [--size 64]

The embedded network and random images. Both ways see the same batches, in turns, and must return the
same logits to the bit.
"""

import argparse
import resource
import statistics
from collections.abc import Callable

import torch
from torch import Tensor

import kdst_core as kdst
from kdst_adapt.default import model as embedded
from kdst_core.contracts import AdaptRequest
from kdst_tea import Options
from kdst_tea.method import Tea


def cpu_seconds(call: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, Tensor]:
    """Return user and system seconds of one call, and what it returned."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    logits = call(x)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, logits


def main() -> None:
    """Measure in turns and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=15)
    parser.add_argument("--size", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.Generator().manual_seed(1)
    shape = (1, 8, 8)
    predictor = kdst.load("tea", "adapt")(embedded.load())
    own = Tea(AdaptRequest(embedded.load(), 10, shape, torch.Generator().manual_seed(0)), Options())
    times: dict[str, list[float]] = {"load": [], "own": []}
    for number in range(given.batches + 1):
        x = torch.rand(given.size, *shape, generator=images)
        ways = [("load", lambda x: predictor.predict(x)), ("own", own.predict)]
        logits = {}
        for name, call in ways[:: 1 if number % 2 else -1]:
            seconds, logits[name] = cpu_seconds(call, x)
            if number:  # the first batch makes the predictor
                times[name].append(seconds)
        if not torch.equal(logits["load"], logits["own"]):
            raise SystemExit(f"batch {number}: the logits differ")
    ours, theirs = statistics.median(times["load"]), statistics.median(times["own"])
    ratios = [a / b for a, b in zip(times["load"], times["own"], strict=True)]
    print(
        f"{given.batches} batches of {given.size}: {1000 * ours:.0f} CPU-ms through load,"
        f" {1000 * theirs:.0f} by the method itself; ratio {statistics.median(ratios):.3f} in the"
        " median, same logits"
    )


if __name__ == "__main__":
    main()
