"""What attention control costs: CPU time and memory against sampling the same images without it.

python benchmarks/edit_speed.py [--models tiny,sd15] [--rounds 5] [--steps N]

CPU time of one process, one thread, the variants in turns, medians. Memory is the growth of the
process over sampling, in fresh processes for each variant, medians (Linux). sd15 is Stable
Diffusion 1.5's UNet with random weights at a reduced width. Without --steps, tiny samples in the 50 of
its bench and sd15 in 5.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from kdst_core.bench.libraries import silence_libraries
from kdst_core.contracts import EditRequest
from kdst_edit.control.session import Rule
from kdst_edit.kit import attention_of, resets, source_branch, target_branches, word_maps
from kdst_edit.models.latents import native_size
from kdst_edit.models.layouts import build
from kdst_edit.models.pipelines import load
from kdst_edit.sampling.sample import sample
from kdst_p2p import Options
from kdst_p2p.method import rules_of
from kdst_p2p.settings import settings_of

SOURCE = "a red disc on a white background"
TARGETS = tuple(f"a {c} disc on a white background" for c in ("blue", "green", "yellow", "purple"))
WIDTH, LATENT = 64, 32
STEPS = {"tiny": 50}


def pipeline_of(model: str) -> Any:
    """The tiny model, or Stable Diffusion 1.5's layout at a reduced width."""
    with silence_libraries("diffusers"):
        return load(model) if model == "tiny" else build(model, width=WIDTH, latent_size=LATENT)


def request(pipeline: Any, targets: Sequence[str], steps: int) -> EditRequest:
    """A generated source and its targets."""
    generator = torch.Generator().manual_seed(0)
    side = LATENT if native_size(pipeline) != 32 else 32
    noise = torch.randn(1, pipeline.unet.config.in_channels, side, side, generator=generator)
    return EditRequest(
        pipeline, SOURCE, None, tuple(targets), generator, noise, num_steps=steps, guidance=3.0
    )


def run(asked: EditRequest, *, control: bool) -> None:
    """Sample the source and the edits, with Prompt-to-Prompt and LocalBlend or without any control."""
    rules: list[Rule] = []
    if control:
        options = Options()
        words = word_maps(asked)
        settings = settings_of(SOURCE, asked.targets, options)
        rules = [*rules_of(asked, SOURCE, settings, options), words, *resets(asked)]
    branches = [source_branch(asked), *target_branches(asked)]
    sample(asked.pipeline, asked.latents, branches, rules, num_steps=asked.num_steps)
    if control:
        attention_of(asked, words, 0, SOURCE)


def cpu(work: Callable[[], None]) -> float:
    """CPU seconds of a piece of work."""
    started = time.process_time()
    work()
    return time.process_time() - started


def times(model: str, steps: int, rounds: int) -> None:
    """Print the ratios of CPU time."""
    pipeline = pipeline_of(model)
    one, many = request(pipeline, TARGETS[:1], steps), request(pipeline, TARGETS, steps)
    variants: dict[str, Callable[[], None]] = {
        "plain": lambda: run(one, control=False),
        "control": lambda: run(one, control=True),
        "together": lambda: run(many, control=True),
    }
    for work in variants.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, work in variants.items():
            taken[name].append(cpu(work))
    ratios = [c / p for c, p in zip(taken["control"], taken["plain"], strict=True)]
    shares = [t / (4 * c) for t, c in zip(taken["together"], taken["control"], strict=True)]
    middle = {name: statistics.median(values) for name, values in taken.items()}
    print(f"{model}: medians in CPU-s {', '.join(f'{k} {v:.2f}' for k, v in middle.items())}")
    _show(model, "source and edit, control / plain", ratios, 1.05)
    _show(model, "4 edits together / 4 runs", shares, (1 + 4) / (2 * 4) + 0.05)


def _show(model: str, name: str, values: Sequence[float], most: float) -> None:
    middle = statistics.median(values)
    spread = f"[{min(values):.3f}, {max(values):.3f}]"
    verdict = "" if middle <= most else "  ABOVE"
    print(f"{model}: {name} {middle:.3f} {spread}, wanted at most {most:.3f}{verdict}", flush=True)


def memory(model: str, steps: int, rounds: int) -> None:
    """Print the ratio of peak memory, each variant in processes of its own, in turns."""
    grown: dict[str, list[list[float]]] = {"plain": [], "control": []}
    for _ in range(rounds):
        for name, measured in grown.items():
            measured.append(_grown(model, steps, name))
    for part, kind in enumerate(("growth while sampling", "whole process")):
        plain, control = ([x[part] for x in grown[name]] for name in ("plain", "control"))
        middle = statistics.median(plain)
        told = f"plain {middle:.0f} MiB, control {statistics.median(control):.0f} MiB"
        print(f"{model}: peak memory, {kind}: {told}")
        _show(model, f"peak memory, {kind}, control / plain", [x / middle for x in control], 1.2)


def _grown(model: str, steps: int, name: str) -> list[float]:
    """What `grow` prints in a process of its own."""
    command = [sys.executable, __file__, "--grow", name, "--models", model, "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(x) for x in done.stdout.split()[-2:]]


def grow(model: str, steps: int, name: str) -> None:
    """Print by how much sampling raises the peak of this process, and the peak, in MiB."""
    asked = request(pipeline_of(model), TARGETS[:1], steps)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run(asked, control=name == "control")
    print(_status("VmHWM") - before, _status("VmHWM"))


def _status(name: str) -> float:
    """A value of the kernel's account of this process, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def main() -> None:
    """Measure time and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="tiny,sd15", help="names, separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="sampling steps")
    parser.add_argument("--grow", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for model in options.models.split(","):
        steps = options.steps or STEPS.get(model, 5)
        if options.grow:
            grow(model, steps, options.grow)
        else:
            times(model, steps, options.rounds)
            memory(model, steps, options.rounds)


if __name__ == "__main__":
    main()
