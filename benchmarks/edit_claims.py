"""What Prompt-to-Prompt and Plug-and-Play do on the tiny model, over many seeds, with 95 % intervals.

python benchmarks/edit_claims.py [--seeds 64] [--only colour,shape] [--model DIR] [--json FILE]

Each seed draws its own prompts and its own noise; source, edits and plain sampling of the target
share that noise and one call of the UNet a step. Deltas are paired: edit minus plain, seed by seed.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from edit_claims_pnp import structure
from scipy.stats import spearmanr
from torch import Tensor

from kdst_core.bench.libraries import silence_libraries
from kdst_core.contracts import EditRequest
from kdst_edit import measures
from kdst_edit.control.session import Rule
from kdst_edit.inversion.invert import invert
from kdst_edit.inversion.settings import InversionSettings
from kdst_edit.kit import resets, source_branch
from kdst_edit.models.latents import decode
from kdst_edit.models.pipelines import load
from kdst_edit.sampling.sample import Branch, sample
from kdst_edit.shapes import attributes
from kdst_edit.shapes.render import object_masks, palette, render
from kdst_edit.shapes.scene import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    TEXTURES,
    Mix,
    Scenes,
    captions,
    sample_scenes,
)
from kdst_p2p import Options
from kdst_p2p.control import cross_rules
from kdst_p2p.local_blend import blend_rules
from kdst_p2p.method import self_rules
from kdst_p2p.settings import Setting, settings_of
from recipes.edit.intervals import Measured, mean, rate

TAUS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
WEIGHTS = (-2.0, -1.0, 0.0, 1.0, 2.0)
Values = dict[str, float]
Bound = tuple[str, float]


@dataclasses.dataclass(frozen=True)
class Context:
    """What every claim shares."""

    pipeline: Any
    steps: int
    guidance: float


@dataclasses.dataclass(frozen=True)
class Prompts:
    """A source prompt's parts."""

    colour: str
    shape: str
    background: str
    texture: str = ""

    def text(self, **changed: str) -> str:
        """The prompt, with some parts changed."""
        parts = dataclasses.replace(self, **changed)
        what = " ".join(filter(None, ("a", parts.texture, parts.colour, parts.shape)))
        return f"{what} on a {parts.background} background"


def pick(generator: torch.Generator, options: Sequence[str], *but: str) -> str:
    """One of the options, none of `but`."""
    left = [o for o in options if o not in but]
    return left[int(torch.randint(len(left), (1,), generator=generator))]


def draw_prompts(generator: torch.Generator) -> Prompts:
    """A random plain object on a random background."""
    colour, shape = pick(generator, tuple(COLOURS)), pick(generator, SHAPES)
    return Prompts(colour, shape, pick(generator, tuple(BACKGROUNDS)))


def request(
    context: Context, source: str, targets: Sequence[str], generator: torch.Generator
) -> EditRequest:
    """A generated source."""
    noise = torch.randn(1, 3, 32, 32, generator=generator)
    return EditRequest(
        context.pipeline,
        source,
        None,
        tuple(targets),
        generator,
        noise,
        num_steps=context.steps,
        guidance=context.guidance,
    )


def images(
    asked: EditRequest, settings: Sequence[Setting], rules: Sequence[Rule], plain: str
) -> Tensor:
    """Images (2 + n, 3, 32, 32): the source, the settings' edits, and `plain` without control."""
    targets = [*(s.prompt for s in settings), plain]
    branches = [source_branch(asked), *(Branch(t, "", asked.guidance) for t in targets)]
    latents = sample(
        asked.pipeline,
        asked.latents,
        branches,
        [*rules, *resets(asked)],
        num_steps=asked.num_steps,
        path=asked.path,
    )
    return decode(asked.pipeline, latents)


def controlled(
    asked: EditRequest, settings: Sequence[Setting], options: Options, blended: int
) -> list[Rule]:
    """Rules of all settings, LocalBlend for the first `blended` alone."""
    source = asked.source_prompt
    return [
        *cross_rules(asked, source, settings, options),
        *self_rules(asked, settings, options),
        *(blend_rules(asked, source, settings[:blended], options) if blended else []),
    ]


def compare(
    source: Tensor, edit: Tensor, before: str, after: str, covered: Tensor | None = None
) -> Values:
    """Measures of one edit of a generated or real source.

    covered: the pixels (32, 32) that the source's object covers, in part too, where a renderer knows
    them. Of a generated source the silhouette is read, which misses those that it covers least.
    """
    said = attributes.parse(before), attributes.parse(after)
    assert said[0]
    assert said[1]
    inside = attributes.silhouettes(torch.stack([source, edit]))
    seen: Values = {}
    if covered is not None:
        seen = {"silhouette": measures.psnr(edit, source, ~inside[0])}
        seen |= edge(source, edit, covered, inside[1])
    return seen | {
        "background": measures.psnr(edit, source, ~(inside[0] if covered is None else covered)),
        "beyond_edge": measures.psnr(edit, source, ~attributes.widened(inside[0])),
        "object": measures.psnr(edit, source, inside[0]),
        "iou": measures.iou(inside[0], inside[1]),
        "success": float(attributes.success(edit[None], said[0], said[1])),
    }


def edge(source: Tensor, edit: Tensor, covered: Tensor, grown: Tensor) -> Values:
    """Shares of the squared error outside the object: one pixel around it, and where the edit's lies.

    covered, grown: the pixels (32, 32) of the source's object and of the edit's.
    """
    error = (edit - source).square().sum(0) * ~covered
    whole = max(float(error.sum()), 1e-12)
    return {
        "ring_share": float(error[attributes.widened(covered)].sum()) / whole,
        "grown_share": float(error[grown].sum()) / whole,
    }


def with_and_without(
    asked: EditRequest,
    source: str,
    target: str,
    options: Options,
    shown: Tensor | None = None,
    covered: Tensor | None = None,
) -> Values:
    """One edit with LocalBlend, without it, and plain sampling of the target."""
    (setting,) = settings_of(source, [target], options)
    drawn = images(asked, [setting] * 2, controlled(asked, [setting] * 2, options, 1), target)
    first = drawn[0] if shown is None else shown
    found: Values = {}
    for name, image in zip(("blend", "bare", "plain"), drawn[1:], strict=True):
        measured = compare(first, image, source, target, covered)
        found |= {f"{name}.{k}": v for k, v in measured.items()}
    for name in ("blend", "bare"):
        for part in sorted({"silhouette", "background", "beyond_edge", "object"} & set(measured)):
            found[f"{name}.{part}_gain"] = found[f"{name}.{part}"] - found[f"plain.{part}"]
    return found


def colour(context: Context, generator: torch.Generator) -> Values:
    """Swap the colour word."""
    parts = draw_prompts(generator)
    target = parts.text(colour=pick(generator, tuple(COLOURS), parts.colour))
    asked = request(context, parts.text(), [target], generator)
    return with_and_without(asked, parts.text(), target, Options())


def background(context: Context, generator: torch.Generator) -> Values:
    """Swap the background's colour; LocalBlend keeps the object, by subtraction."""
    parts = draw_prompts(generator)
    target = parts.text(background=pick(generator, tuple(BACKGROUNDS), parts.background))
    asked = request(context, parts.text(), [target], generator)
    options = Options(subtract=[parts.colour, parts.shape])
    return with_and_without(asked, parts.text(), target, options)


def texture(context: Context, generator: torch.Generator) -> Values:
    """Add a texture word; LocalBlend keeps to the object."""
    parts = draw_prompts(generator)
    target = parts.text(texture=pick(generator, TEXTURES, ""))
    asked = request(context, parts.text(), [target], generator)
    options = Options(blend=[parts.shape, parts.colour])
    return with_and_without(asked, parts.text(), target, options)


def reweight(context: Context, generator: torch.Generator) -> Values:
    """Weights c of the colour word: how strongly the object has its colour, and its rank in c."""
    parts = draw_prompts(generator)
    source, options = parts.text(), Options(tau=["1"], blend=["none"])
    (setting,) = settings_of(source, [source], options)
    settings = [attrs.evolve(setting, weights={parts.colour: c}) for c in WEIGHTS]
    asked = request(context, source, [source], generator)
    drawn = images(asked, settings, controlled(asked, settings, options, 0), source)
    inside = attributes.silhouettes(drawn[:1])[0]
    table = palette(COLOURS)
    direction = table[list(COLOURS).index(parts.colour)]
    direction = direction - direction.mean()
    strength = [float((2 * x[:, inside] - 1).mean(1) @ direction) for x in drawn[1:-1]]
    found = {f"strength.{c:g}": s for c, s in zip(WEIGHTS, strength, strict=True)}
    return {
        "rank_correlation": float(spearmanr(WEIGHTS, strength).statistic),
        "identity": float((drawn[1 + WEIGHTS.index(1.0)] - drawn[0]).abs().max()),
        **found,
    }


def shape(context: Context, generator: torch.Generator) -> Values:
    """Swap the shape word at rising tau, of cross- and self-attention alike."""
    parts = draw_prompts(generator)
    source = parts.text()
    target = parts.text(shape=pick(generator, SHAPES, parts.shape))
    options = Options(blend=["none"])
    (setting,) = settings_of(source, [target], options)
    settings = [
        attrs.evolve(setting, tau={"default_": tau}, self_tau=options.self_tau * tau)
        for tau in TAUS
    ]
    asked = request(context, source, [target], generator)
    drawn = images(asked, settings, controlled(asked, settings, options, 0), target)
    found: Values = {}
    for tau, image in zip(TAUS, drawn[1:-1], strict=True):
        seen = compare(drawn[0], image, source, target)
        found |= {f"{name}.{tau:g}": seen[name] for name in ("success", "iou", "background")}
    return found


def real(context: Context, generator: torch.Generator) -> Values:
    """Swap the colour of a rendered image, inverted by DDIM, with the source reset to its path.

    `exact` is what the measures give an edit without error.
    """
    scene = sample_scenes(1, generator, Mix(pair=0.0, textured=0.0))
    (source,), shown = captions(scene), (render(scene)[0] + 1) / 2
    new = pick(generator, tuple(COLOURS), _colour(scene))
    target = source.replace(_colour(scene), new)
    settings = InversionSettings(steps=context.steps, guidance=context.guidance)
    path = invert(context.pipeline, shown, source, settings)
    asked = attrs.evolve(
        request(context, source, [target], generator),
        path=path,
        source_image=shown,
        latents=path.latents[:1],
    )
    covered = object_masks(scene)[0, 0] > 0
    found = with_and_without(asked, source, target, Options(), shown, covered)
    exact = compare(shown, repainted(scene, new), source, target, covered)
    return found | {f"exact.{part}": exact[part] for part in ("silhouette", "background")}


def repainted(scene: Scenes, colour: str) -> Tensor:
    """The scene's image (3, 32, 32) in [0, 1] with its object in another colour: an edit without error."""
    index = torch.full_like(scene.colour, list(COLOURS).index(colour))
    return (render(dataclasses.replace(scene, colour=index))[0] + 1) / 2


def pnp(context: Context, generator: torch.Generator) -> Values:
    """Plug-and-Play on a rendered image, at the guidance of its authors."""
    return structure(context.pipeline, context.steps, generator)


def _colour(scene: Scenes) -> str:
    """The colour word of a scene's object."""
    return tuple(COLOURS)[int(scene.colour[0, 0])]


Claim = Callable[[Context, torch.Generator], Values]
CLAIMS: Mapping[str, tuple[Claim, tuple[Bound, ...]]] = {
    "colour": (
        colour,
        (
            ("blend.background_gain", 12.0),
            ("blend.beyond_edge_gain", 12.0),
            ("bare.background_gain", 6.0),
            ("bare.beyond_edge_gain", 6.0),
            ("blend.iou", 0.85),
            ("blend.success", 0.95),
        ),
    ),
    "background": (background, (("blend.object_gain", 4.0),)),
    "texture": (texture, (("blend.success", 0.8), ("blend.background", 30.0))),
    "reweight": (reweight, (("rank_correlation", 0.9),)),
    "shape": (shape, ()),
    "real": (real, (("blend.background_gain", 15.0), ("bare.background_gain", 8.0))),
    "pnp": (pnp, (("iou_gain", 0.15), ("edit.success", 0.9))),
}


def summarise(rows: Sequence[Values]) -> dict[str, Measured]:
    """Mean of every value with its interval; shares with Wilson's."""
    found = {}
    for name in rows[0]:
        values = torch.tensor([row[name] for row in rows], dtype=torch.float64)
        found[name] = rate(values > 0.5) if "success" in name else mean(values)
    return found


def lines(name: str, found: Mapping[str, Measured], bounds: Sequence[Bound]) -> Iterator[str]:
    """One line a value, with what is wanted."""
    wanted = dict(bounds)
    for value, measured in found.items():
        verdict = ""
        if value in wanted:
            verdict = f"  wanted {wanted[value]:g}"
            verdict += "" if measured.value >= wanted[value] else "  FALLS SHORT"
        yield f"  {name} {value:26s}{measured}{verdict}"
    if name == "shape":
        for part in ("success", "iou", "background"):
            curve = [found[f"{part}.{tau:g}"].value for tau in TAUS]
            yield f"  shape rank of {part} in tau {spearmanr(TAUS, curve).statistic:.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the claims asked for and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--only", default=",".join(CLAIMS), help="names, separated by commas")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    with silence_libraries("diffusers"):
        context = Context(load(options.model), options.steps, options.guidance)
    table: dict[str, dict[str, Any]] = {}
    for name in options.only.split(","):
        claim, bounds = CLAIMS[name]
        rows = []
        for seed in range(options.seeds):
            rows.append(claim(context, torch.Generator().manual_seed(seed)))
            print(f"\r{name} {seed + 1}/{options.seeds}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        found = summarise(rows)
        print("\n".join(lines(name, found, bounds)), flush=True)
        table[name] = {k: dataclasses.asdict(v) for k, v in found.items()}
        if options.json:
            options.json.write_text(json.dumps(table, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
