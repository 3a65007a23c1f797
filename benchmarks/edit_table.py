"""Methods and inversions on photographs of the tiny model's world, in one table with 95 % intervals.

python benchmarks/edit_table.py [--seeds 16] [--steps 50] [--only p2p/direct,pnp/ddim] [--json FILE]

Each seed renders a scene with its caption and asks for another colour, background, texture or shape in
turn. All methods get the same render, inversion and target prompt. The measures are PIE-Bench's, with the
silhouette in the render as the region (widened by a pixel; its outside where the background changes),
and whether the edit shows what the target says. `plain` is the inversion and the target prompt alone.
What the tiny model shows is no evidence for photographs.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import kdst_masactrl
import kdst_p2p
import kdst_pnp
from kdst_authors.testing import make_run
from kdst_core.bench.libraries import silence_libraries
from kdst_core.contracts import Edit, EditRequest, RunServices
from kdst_edit import measures
from kdst_edit.inversion.invert import invert
from kdst_edit.inversion.settings import KINDS, InversionSettings
from kdst_edit.kit import edit_with
from kdst_edit.models.pipelines import load
from kdst_edit.piebench.measures import score
from kdst_edit.shapes import attributes
from kdst_edit.shapes.render import render
from kdst_edit.shapes.scene import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    TEXTURES,
    Mix,
    captions,
    sample_scenes,
)
from recipes.edit.intervals import mean, rate

GUIDANCE = 3.0
Method = Callable[[EditRequest, RunServices], Edit]
METHODS: Mapping[str, Method] = {
    "plain": lambda request, run: edit_with(request, [], run),
    "p2p": lambda request, run: kdst_p2p.edit(request, kdst_p2p.Options(), run),
    "pnp": lambda request, run: kdst_pnp.edit(request, kdst_pnp.Options(), run),
    "masactrl": lambda request, run: kdst_masactrl.edit(request, kdst_masactrl.Options(), run),
}
KINDS_OF_EDIT = ("colour", "background", "texture", "shape")
WORDS: Mapping[str, Sequence[str]] = {
    "colour": tuple(COLOURS),
    "background": tuple(BACKGROUNDS),
    "shape": tuple(SHAPES),
    "texture": tuple(word for word in TEXTURES if word),
}
Values = dict[str, float]


def item(seed: int) -> tuple[Tensor, str, str]:
    """A render (3, 32, 32) in [0, 1], its caption, and the target of the seed's kind of edit."""
    generator = torch.Generator().manual_seed(seed)
    scene = sample_scenes(1, generator, Mix(pair=0.0, textured=0.0))
    (source,), shown = captions(scene), (render(scene)[0] + 1) / 2
    return shown, source, changed(source, KINDS_OF_EDIT[seed % 4], generator)


def changed(source: str, kind: str, generator: torch.Generator) -> str:
    """A caption with one word of a kind exchanged, or a texture word added before the colour."""
    words = source.split()
    at = {"shape": words.index("on") - 1, "background": len(words) - 2}
    place = at.get(kind, words.index("on") - 2)
    others = [word for word in WORDS[kind] if word != words[place]]
    word = others[int(torch.randint(len(others), (1,), generator=generator))]
    if kind == "texture":
        return " ".join([*words[:place], word, *words[place:]])
    return " ".join([*words[:place], word, *words[place + 1 :]])


def measure(shown: Tensor, edit: Edit, source: str, target: str) -> Values:
    """PIE-Bench's measures, and those of the tiny model's image analysis."""
    image = edit.images[0].image.cpu()
    before, after = attributes.parse(source), attributes.parse(target)
    assert before
    assert after
    masks = attributes.silhouettes(torch.stack([shown, image]))
    arrays = [x.permute(1, 2, 0).double().numpy() for x in (shown, image)]
    background = before.background != after.background
    region = ~masks[0] if background else attributes.widened(masks[0])
    found = score(arrays[0], arrays[1], region.numpy(), target)
    return found | {
        "kept_psnr": measures.psnr(image, shown, ~region),
        "iou": measures.iou(masks[0], masks[1]),
        "success": float(attributes.success(image[None], before, after)),
    }


def edits(
    pipeline: Any, seed: int, steps: int, chosen: Mapping[str, Sequence[str]], run: RunServices
) -> dict[str, Values]:
    """All measures of one seed, by `method/inversion`."""
    shown, source, target = item(seed)
    found: dict[str, Values] = {}
    for kind in KINDS:
        if kind not in chosen:
            continue
        settings = InversionSettings(kind=kind, steps=steps, guidance=GUIDANCE)
        generator = torch.Generator().manual_seed(seed)
        path = invert(pipeline, shown, source, settings, generator=generator)
        request = EditRequest(
            pipeline,
            source,
            shown,
            (target,),
            generator,
            path.latents[path.start][None],
            num_steps=steps,
            guidance=GUIDANCE,
            path=path,
            max_rows=16,
        )
        for name in chosen[kind]:
            edit = METHODS[name](request, run)
            found[f"{name}/{kind}"] = measure(shown, edit, source, target)
    return found


def lines(table: Mapping[str, Sequence[Values]]) -> list[str]:
    """A Markdown table: a row a method and inversion, a column a measure."""
    columns = ("background_psnr", "kept_psnr", "background_ssim", "iou", "success")
    head = ("PIE-Bench PSNR, dB", "PSNR outside, dB", "PIE-Bench SSIM", "IoU", "success")
    found = ["| method / inversion | " + " | ".join(head) + " |", "| --- " * 6 + "|"]
    for name, rows in table.items():
        cells = []
        for column in columns:
            values = torch.tensor([row[column] for row in rows], dtype=torch.float64)
            cells.append(str(rate(values > 0.5) if column == "success" else mean(values)))
        found.append(f"| {name} | " + " | ".join(cells) + " |")
    return found


def parse(text: str) -> dict[str, list[str]]:
    """Inversion to methods, of `method/inversion,…`."""
    found: dict[str, list[str]] = {}
    for entry in text.split(","):
        name, _, kind = entry.partition("/")
        if name not in METHODS or kind not in KINDS:
            sys.exit(f"--only {entry}: give METHOD/INVERSION of {', '.join(METHODS)} and {KINDS}")
        found.setdefault(kind, []).append(name)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50)
    whole = ",".join(f"{name}/{kind}" for kind in KINDS for name in METHODS)
    parser.add_argument("--only", default=whole, help="METHOD/INVERSION, separated by commas")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    chosen = parse(options.only)
    with silence_libraries("diffusers"), tempfile.TemporaryDirectory() as folder:
        pipeline, run = load(options.model), make_run(Path(folder))
        table: dict[str, list[Values]] = {}
        for seed in range(options.seeds):
            for name, values in edits(pipeline, seed, options.steps, chosen, run).items():
                table.setdefault(name, []).append(values)
            print(f"\r{seed + 1}/{options.seeds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print("\n".join(lines(table)))
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
