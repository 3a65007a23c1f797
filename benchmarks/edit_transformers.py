"""What control costs on transformers: CPU time against sampling the same images without it.

python benchmarks/edit_transformers.py [--models sd3,sd35,flux-dev,pixart] [--steps 28] [--rounds 5]
    [--heads 8]

Source and one edit, Prompt-to-Prompt with LocalBlend and word maps, and MasaCtrl with word maps. All sample
the same rows by the same steps. CPU time of one process, one thread, the variants in turns that begin with
another one each round, after one step of each that is not counted; medians with the range. The layouts have
random weights, 8 heads of 16 channels, 6 blocks (FLUX.1: 6 double and 6 single) and 32×32 latents: 256
tokens of image, 333 (SD3), 512 (FLUX.1) or 300 (PixArt) of text. --heads makes them wider.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

import torch

from kdst_core.contracts import EditRequest
from kdst_edit.control.layers import Layers
from kdst_edit.control.rules import CopyKV
from kdst_edit.control.session import Rule
from kdst_edit.families.registry import family_of
from kdst_edit.kit import attention_of, source_branch, target_branches, word_maps
from kdst_edit.models.transformers import Layout, build
from kdst_edit.sampling.sample import sample
from kdst_p2p import Options
from kdst_p2p.method import rules_of
from kdst_p2p.settings import settings_of

SOURCE, TARGET = "a red disc on a white background", "a blue disc on a white background"
HEADS, DEPTH, LATENT = 8, 6, 32
MOST = 1.10
"""The most that control may cost, as a ratio to sampling without it."""


def request(pipeline: Any, steps: int) -> EditRequest:
    """A generated source and one target."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 4, LATENT, LATENT, generator=generator)
    guidance = family_of(pipeline).defaults(pipeline)[1]
    return EditRequest(
        pipeline, SOURCE, None, (TARGET,), generator, noise, num_steps=steps, guidance=guidance
    )


def p2p(asked: EditRequest) -> list[Rule]:
    """Prompt-to-Prompt with its defaults: a swap with LocalBlend."""
    options = Options()
    return rules_of(asked, SOURCE, settings_of(SOURCE, asked.targets, options), options)


def masactrl(asked: EditRequest) -> list[Rule]:
    """Mutual self-attention in all blocks."""
    return [CopyKV(layers=Layers("self"), rows="all")]


VARIANTS: dict[str, Callable[[EditRequest], list[Rule]] | None] = {
    "plain": None,
    "p2p": p2p,
    "masactrl": masactrl,
}


def draw(asked: EditRequest, rules_for: Callable[[EditRequest], list[Rule]] | None) -> None:
    """Sample the source and the edit, under rules or without any control."""
    words = word_maps(asked, [SOURCE, TARGET])
    rules = [] if rules_for is None else [*rules_for(asked), words]
    branches = [source_branch(asked), *target_branches(asked)]
    sample(asked.pipeline, asked.latents, branches, rules, num_steps=asked.num_steps)
    if rules:
        attention_of(asked, words, 0, SOURCE)


def cpu(work: Callable[[], None]) -> float:
    """CPU seconds of a piece of work."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(layout: Layout, steps: int, rounds: int, heads: int) -> None:
    """Print the ratios of CPU time of one layout."""
    asked = request(build(layout, heads=heads, depth=DEPTH, latent_size=LATENT), steps)
    names = list(VARIANTS)
    for rules in VARIANTS.values():
        draw(request(asked.pipeline, 1), rules)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            taken[name].append(cpu(partial(draw, asked, VARIANTS[name])))
    print(f"{layout}: plain {statistics.median(taken['plain']):.2f} CPU-s, {steps} steps")
    for name in ("p2p", "masactrl"):
        show(layout, name, [c / p for c, p in zip(taken[name], taken["plain"], strict=True)])


def show(layout: str, name: str, ratios: Sequence[float]) -> None:
    """Print the median of some ratios with its range."""
    middle = statistics.median(ratios)
    verdict = "" if middle <= MOST else "  ABOVE"
    spread = f"[{min(ratios):.3f}, {max(ratios):.3f}]"
    print(f"{layout}: {name} / plain {middle:.3f} {spread}, wanted at most {MOST:.2f}{verdict}")


def main() -> None:
    """Measure the layouts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="sd3,sd35,flux-dev,pixart", help="names, with commas")
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--heads", type=int, default=HEADS, help="heads of 16 channels")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for model in options.models.split(","):
        if model not in get_args(Layout):
            parser.error(f"--models {model}: give some of {', '.join(get_args(Layout))}")
        measure(model, options.steps, options.rounds, options.heads)


if __name__ == "__main__":
    main()
