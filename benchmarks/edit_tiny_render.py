"""Images a CPU-second of the tiny model's renderer: median of several runs on one thread."""

import statistics
import time
from collections.abc import Callable

import torch

from kdst_edit.shapes.render import render
from kdst_edit.shapes.scene import sample_scenes

COUNT, RUNS = 8192, 9


def main() -> None:
    """Print the rate with and without drawing the scenes."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    scenes = sample_scenes(COUNT, generator)
    jobs: dict[str, Callable[[], object]] = {
        "render": lambda: render(scenes),
        "draw and render": lambda: render(sample_scenes(COUNT, generator)),
    }
    for name, job in jobs.items():
        job()
        rates = []
        for _ in range(RUNS):
            began = time.process_time()
            job()
            rates.append(COUNT / (time.process_time() - began))
        low, middle, high = min(rates), statistics.median(rates), max(rates)
        print(f"{name:16s} {middle:8.0f} images a CPU-second  ({low:.0f} to {high:.0f})")


if __name__ == "__main__":
    main()
