"""What cannot have an effect, or did not have the one that was wanted, as sentences for the user."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdst_edit.default import FOLDERS
from kdst_edit.inputs import PUBLISHED_SKIP, EditInputs
from kdst_edit.inversion.settings import ETA, GAMMA, LED
from kdst_edit.words import unknown_words

if TYPE_CHECKING:
    from torch import Tensor

    from kdst_core.contracts import Edit

BACK = ("ddim", "null-text", "rf-inversion")
"""Inversions whose source gets back under the prompt that it was inverted with only."""
EQUAL = 0.5 / 255
"""Images that differ by less are the same files."""
WEIGHTED = re.compile(r"\([^()]+:[0-9.]+\)")
"""`(cat:1.3)`, a weight of a word in the syntax of some programs."""
WORSE = 1.0
"""Decibels below sampling without control from which a run says that it kept less."""


def options(
    inputs: EditInputs,
    guidance: float,
    photograph: bool,
    source: str,
    *,
    inverting: bool = True,
) -> list[str]:
    """Options of the bench that have no effect beside the others.

    inverting: whether the method has a photograph inverted.
    """
    found = []
    inverted = photograph and inverting
    null_text = inverted and inputs.inversion == "null-text"
    if inputs.negative_prompt and null_text and guidance > 1:
        found.append(
            "--negative-prompt has no effect: null-text inversion puts its own embeddings in the"
            " place of the negative prompt. Choose another --inversion to use it."
        )
    if null_text and guidance <= 1:
        found.append(
            f"Null-text inversion has nothing to optimise at guidance {guidance:g}; this is DDIM"
            " inversion."
        )
    if photograph and inputs.model in FOLDERS:
        found.append(
            f"The model {inputs.model} draws 32-pixel shapes and is an instrument for tests; what it"
            " makes of a photograph says nothing of photographs. Give --model."
        )
    said = inputs.inversion_prompt
    if not inverted:
        given: dict[str, Any] = {"--inversion-prompt": said, "--inversions": inputs.inversions}
        given |= {"--inversion": None if inputs.inversion == "direct" else inputs.inversion}
        given |= {"--substeps": inputs.substeps - 1 or None, "--skip": _skip(inputs)}
        given |= {"--fixed-point": inputs.fixed_point or None, **_rectified(inputs)}
        unused = [name for name, value in given.items() if value is not None]
        why = "the method needs no inversion" if photograph else "there is no --image to invert"
        found += [f"{name} has no effect: {why}." for name in unused]
        return found
    if said is not None and said != source and inputs.inversion in BACK:
        found.append(
            f"The source is drawn with the inversion prompt {said!r} under --inversion"
            f" {inputs.inversion}, so its attention is not that of the source prompt; with direct or"
            " ddpm it is."
        )
    if inputs.inversion != "ddpm" and _skip(inputs) is not None:
        found.append(f"--skip has no effect: {inputs.inversion} inversion leaves out no step.")
    if inputs.inversion != "rf-inversion":
        found += [
            f"{name} has no effect: {inputs.inversion} inversion is not led."
            for name in _rectified(inputs)
        ]
    if inputs.inversion in ("rf-inversion", "rf-solver") and inputs.fixed_point:
        found.append(f"--fixed-point has no effect: {inputs.inversion} does not refine its steps.")
    if inputs.inversion == "ddpm" and (inputs.substeps > 1 or inputs.fixed_point):
        found.append("--substeps and --fixed-point have no effect: ddpm takes no steps back.")
    return found


def guidance(inputs: EditInputs, scale: float, told: bool) -> list[str]:
    """Options of guidance without effect; told: whether the network itself is told the guidance."""
    if scale > 1 and not told:
        return []
    why = (
        "the model is told the guidance and needs no negative prompt"
        if told
        else f"guidance {scale:g} samples without a negative prompt"
    )
    given = {
        "--negative-prompt": inputs.negative_prompt,
        "--guidance-rescale": inputs.guidance_rescale,
    }
    return [f"{name} has no effect: {why}." for name, value in given.items() if value]


def _skip(inputs: EditInputs) -> float | None:
    """The share of steps left out that was asked for, or None where it is the default."""
    return None if inputs.skip == PUBLISHED_SKIP else inputs.skip


def _rectified(inputs: EditInputs) -> dict[str, float]:
    """The options of RF-Inversion that were asked for."""
    given = {"--rf-gamma": (inputs.rf_gamma, GAMMA), "--rf-eta": (inputs.rf_eta, ETA)}
    given |= {"--rf-led": (inputs.rf_led, LED)}
    return {name: value for name, (value, usual) in given.items() if value != usual}


def words(tokenizer: Any, prompts: Sequence[str], learned: Sequence[str]) -> list[str]:
    """Words of the prompts that the model does not know, except those a method taught it."""
    unknown = dict.fromkeys(w for p in prompts for w in unknown_words(tokenizer, p))
    return [
        f"The model does not know the word {word!r}; it is read like any other unknown word."
        for word in unknown
        if word not in learned
    ]


def syntax(prompts: Sequence[str]) -> list[str]:
    """Weights of words as some programs read them, which diffusers and the edits here do not."""
    found = dict.fromkeys(text for p in prompts for text in WEIGHTED.findall(p))
    return [
        f"{text} is read as plain text, brackets and number included, as diffusers reads it."
        for text in found
    ]


def outcome(edit: "Edit", plain: "Sequence[Tensor]", metrics: Mapping[str, float]) -> list[str]:
    """What the images say: an edit that changed nothing, or that no control changed."""
    found = []
    told = " ".join(edit.warnings)
    for number, shown in enumerate(edit.images):
        image = shown.image.cpu()
        if _same(image, edit.reconstruction.cpu()) and "cannot have an effect" not in told:
            found.append(f"The edit {shown.prompt!r} is the source image, unchanged.")
        elif plain and _same(image, plain[number]) and "without control" not in told:
            found.append(
                f"The edit {shown.prompt!r} is what sampling without control gives: no control had an"
                " effect on it."
            )
    name = "beyond_edge_psnr" if "beyond_edge_psnr" in metrics else "background_psnr"
    kept, free = metrics.get(name), metrics.get(f"plain.{name}")
    if kept is not None and free is not None and kept < free - WORSE:
        found.append(
            f"The background was kept worse than without control ({kept:.1f} dB, without control"
            f" {free:.1f} dB); change the method's options, or use another method."
        )
    return found


def _same(image: "Tensor", other: "Tensor") -> bool:
    """Whether two images are the same picture."""
    return bool((image - other).abs().max() < EQUAL)
