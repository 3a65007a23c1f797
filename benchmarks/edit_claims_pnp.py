"""What Plug-and-Play does on renders inverted by the tiny model: a claim of `edit_claims.py`."""

import torch
from kdst_pnp import PnpOptions
from kdst_pnp.injection import rules
from torch import Tensor

from kdst_core.contracts import EditRequest
from kdst_edit import attributes, measures
from kdst_edit.inversion.invert import invert
from kdst_edit.inversion.settings import InversionSettings
from kdst_edit.kit import resets, source_branch
from kdst_edit.latents import decode
from kdst_edit.sampling import Branch, sample
from kdst_edit.tiny.render import render
from kdst_edit.tiny.scene import COLOURS, Mix, captions, sample_scenes

GUIDANCE = 7.5
"""As the authors sample."""


def structure(pipeline: object, steps: int, generator: torch.Generator) -> dict[str, float]:
    """Change the colour of a render, inverted without words, with and without injection.

    `iou` is that of the object's silhouettes in the render and in its edit; `plain` samples the target
    prompt from the same noise. `words.plain` does so from the inversion with the render's caption.
    """
    scene = sample_scenes(1, generator, Mix(pair=0.0, textured=0.0))
    (source,), shown = captions(scene), (render(scene)[0] + 1) / 2
    names = tuple(COLOURS)
    old = int(scene.colour[0, 0])
    step = 1 + int(torch.randint(len(names) - 1, (1,), generator=generator))
    target = source.replace(names[old], names[(old + step) % len(names)])
    without_words = _request(pipeline, shown, "", target, steps, generator)
    with_words = _request(pipeline, shown, source, target, steps, generator)
    injected = _edit(without_words, rules(without_words, PnpOptions()))
    drawn = {
        "edit": injected,
        "plain": _edit(without_words, []),
        "words.plain": _edit(with_words, []),
    }
    found: dict[str, float] = {}
    for name, image in drawn.items():
        found |= {f"{name}.{k}": v for k, v in _compare(shown, image, source, target).items()}
    for name in ("plain", "words.plain"):
        found[f"iou_gain.{name}"] = found["edit.iou"] - found[f"{name}.iou"]
    return found


def _request(
    pipeline: object,
    shown: Tensor,
    prompt: str,
    target: str,
    steps: int,
    generator: torch.Generator,
) -> EditRequest:
    """A real image, inverted under `prompt`."""
    settings = InversionSettings(steps=steps, guidance=GUIDANCE)
    path = invert(pipeline, shown, prompt, settings)
    return EditRequest(
        pipeline,
        prompt,
        shown,
        (target,),
        generator,
        path.latents[:1],
        num_steps=steps,
        guidance=GUIDANCE,
        path=path,
    )


def _edit(asked: EditRequest, used: list[object]) -> Tensor:
    """The edit (3, 32, 32) under rules; without rules the target prompt alone."""
    branches = [source_branch(asked), Branch(asked.targets[0], "", asked.guidance)]
    latents = sample(
        asked.pipeline,
        asked.latents,
        branches,
        [*used, *resets(asked)],
        num_steps=asked.num_steps,
        path=asked.path,
    )
    return decode(asked.pipeline, latents)[1]


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
