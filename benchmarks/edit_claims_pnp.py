"""What Plug-and-Play does on renders inverted by the tiny model: a claim of `edit_claims.py`."""

from typing import Any

import torch
from torch import Tensor

from kdst_core.contracts import EditRequest
from kdst_edit import measures
from kdst_edit.inversion.invert import invert
from kdst_edit.inversion.settings import InversionSettings
from kdst_edit.kit import resets, source_branch, target_branches
from kdst_edit.models.latents import decode
from kdst_edit.sampling.sample import sample
from kdst_edit.shapes import attributes
from kdst_edit.shapes.render import render
from kdst_edit.shapes.scene import COLOURS, Mix, captions, sample_scenes
from kdst_pnp import Options
from kdst_pnp.method import rules

GUIDANCE = 7.5
"""As the authors sample."""


def structure(pipeline: Any, steps: int, generator: torch.Generator) -> dict[str, float]:
    """Change the colour of a render, inverted without words, with and without injection.

    `iou` is that of the object's silhouettes in the render and in the edit; `plain` is sampled from
    the same inversion with the target prompt alone.
    """
    scene = sample_scenes(1, generator, Mix(pair=0.0, textured=0.0))
    (source,), shown = captions(scene), (render(scene)[0] + 1) / 2
    names = tuple(COLOURS)
    old = int(scene.colour[0, 0])
    step = 1 + int(torch.randint(len(names) - 1, (1,), generator=generator))
    target = source.replace(names[old], names[(old + step) % len(names)])
    drawn = _images(_request(pipeline, shown, target, steps, generator))
    found: dict[str, float] = {}
    for name, image in zip(("edit", "plain"), drawn[1:], strict=True):
        found |= {f"{name}.{k}": v for k, v in _compare(shown, image, source, target).items()}
    return found | {"iou_gain": found["edit.iou"] - found["plain.iou"]}


def _request(
    pipeline: Any, shown: Tensor, target: str, steps: int, generator: torch.Generator
) -> EditRequest:
    """A real image, inverted without words; the second target is its plain counterpart."""
    path = invert(pipeline, shown, "", InversionSettings(steps=steps))
    return EditRequest(
        pipeline,
        "",
        shown,
        (target, target),
        generator,
        path.latents[:1],
        num_steps=steps,
        guidance=GUIDANCE,
        path=path,
    )


def _images(asked: EditRequest) -> Tensor:
    """Images (3, 3, 32, 32): the source, the edit, and the target prompt alone."""
    used = rules(asked, Options())
    for rule in used:
        rule.branches = (1,)
    latents = sample(
        asked.pipeline,
        asked.latents,
        [source_branch(asked), *target_branches(asked)],
        [*used, *resets(asked)],
        num_steps=asked.num_steps,
        path=asked.path,
    )
    return decode(asked.pipeline, latents)


def _compare(shown: Tensor, image: Tensor, source: str, target: str) -> dict[str, float]:
    """Overlap of the silhouettes, and whether the edit shows what the target says."""
    before, after = attributes.parse(source), attributes.parse(target)
    assert before
    assert after
    masks = attributes.silhouettes(torch.stack([shown, image]))
    return {
        "iou": measures.iou(masks[0], masks[1]),
        "background": measures.psnr(image, shown, ~(masks[0] | masks[1])),
        "success": float(attributes.success(image[None], before, after)),
    }
