"""The smallest real case of each capability on a device and on the CPU: are the figures the same?

    python benchmarks/devices.py [--device cuda] [tea 3dgs p2p toolformer vec2text ...]

Each method runs twice by `kdst_core.run`, with one seed. A table says figure, difference, what is allowed,
seconds, and the most memory of the device. Exit code 1 where a difference is larger than allowed.

What is allowed is what rounding does to these cases: one image of a hundred for `tea`, whose updates
magnify it; half a decibel for a fit of sixty iterations and for an edit, whose samples are float32; two
problems or notes of a hundred for the language models, whose greedy choices flip at ties.
`--device cpu` compares the CPU with itself: all differences are 0.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from attrs import frozen

import kdst_core


@frozen
class Case:
    """A run of seconds, the metric that is compared, and the largest difference that is allowed."""

    options: dict[str, Any]
    metric: str
    allowed: float


CASES = {
    "tea": Case({"types": "contrast", "images": 100}, "accuracy.mean", 0.01),
    "3dgs": Case({"iterations": 60, "flight_frames": 0}, "psnr.holdout", 0.5),
    "p2p": Case({"steps": 10}, "background_psnr", 0.5),
    "toolformer": Case(
        {"documents": 200, "problem_count": 60, "held_out_count": 40}, "calls.shipped.right", 0.02
    ),
    "vec2text": Case({"count": 50, "steps": 2}, "token_f1.final", 0.02),
}


@frozen
class Measured:
    """A run's metric, its seconds, and the most memory of the device in MB; 0 on a CPU."""

    value: float
    seconds: float
    memory: float


def measure(method: str, case: Case, device: str, folder: Path) -> Measured:
    """Run a case on a device."""
    import torch

    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    result = kdst_core.run(method, out=folder / device, device=device, **case.options)
    seconds = time.perf_counter() - started
    memory = torch.cuda.max_memory_allocated() / 1e6 if cuda else 0.0
    return Measured(result.metrics[case.metric], seconds, memory)


def main() -> int:
    """Compare, and return the exit code."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=", ".join(CASES))
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    if unknown := set(given.methods) - CASES.keys():
        parser.error(f"no case for {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("No CUDA device is here: nothing was run.")
        return 0
    wrong = 0
    print(
        f"{'method':12}{'metric':22}{'CPU':>9}{given.device:>9}{'|diff|':>9}{'allowed':>9}", end=""
    )
    print(f"{'s CPU':>8}{'s ' + given.device:>9}{'MB':>7}")
    for method in given.methods or CASES:
        case = CASES[method]
        with tempfile.TemporaryDirectory() as folder:
            cpu = measure(method, case, "cpu", Path(folder, "first"))
            other = measure(method, case, given.device, Path(folder, "second"))
        difference = abs(cpu.value - other.value)
        wrong += difference > case.allowed
        print(f"{method:12}{case.metric:22}{cpu.value:9.4f}{other.value:9.4f}", end="")
        print(f"{difference:9.4f}{case.allowed:9.2f}{cpu.seconds:8.1f}", end="")
        print(f"{other.seconds:9.1f}{other.memory:7.0f}{'  TOO FAR' * (difference > case.allowed)}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
