"""One edit a target by a stock pipeline: the source and an instruction in, a picture out."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kdst_core.bench.libraries import silence_libraries
from kdst_core.contracts import Edit, EditedImage, EditRequest, RunServices
from kdst_core.errors import KdstError
from kdst_edit.kit import sample_request, source_branch
from kdst_edit.models.latents import decode, latent_factor
from kdst_edit.pictures.drawing import to_pil
from kdst_instruct.options import Instructed, instructions
from kdst_instruct.weights import load


def edit_by_instruction(
    request: EditRequest, options: Instructed, run: RunServices, given: Mapping[str, Any]
) -> Edit:
    """Return the source and what the model makes of it by each instruction.

    given: what the pipeline is told besides. Every target starts from the same noise, that of the run's
    seed. The source is shown in 8 bits a colour, as from a file. Raises KdstError for what the pipelines
    cannot do.
    """
    if request.confine is not None:
        raise KdstError(f"{options.method} samples by its own pipeline, which cannot --confine")
    targets = tuple(request.targets)
    asked = instructions(options.instruction, request.source_prompt, targets, options.method)
    device = str(request.latents.device)
    pipeline = load(options, device)
    source = source_image(request, run).cpu()
    shown, edited = to_pil(source), []
    with run.progress(len(asked), "editing") as advance, silence_libraries("diffusers"):
        for words in asked:
            made = pipeline(
                image=shown,
                prompt=words,
                num_inference_steps=request.num_steps,
                generator=torch.Generator().manual_seed(request.generator.initial_seed()),
                output_type="pt",
                **given,
            ).images[0]
            edited.append(made.float().cpu())
            advance(1)
    size = source.shape[-2:]
    images = [
        EditedImage(fitted(image, (size[0], size[1])), target)
        for image, target in zip(edited, targets, strict=True)
    ]
    return Edit(images, source, notes=notes(asked, edited, source))


def source_size(request: EditRequest) -> tuple[int, int]:
    """Return height and width of the source in pixels."""
    factor = latent_factor(request.pipeline)
    if request.source_image is not None:
        return request.source_image.shape[-2], request.source_image.shape[-1]
    return request.latents.shape[-2] * factor, request.latents.shape[-1] * factor


def source_image(request: EditRequest, run: RunServices) -> Tensor:
    """Return the source (3, H, W) in [0, 1]: the photograph, or what the bench's model draws."""
    if request.source_image is not None:
        return request.source_image
    latents = sample_request(request, [source_branch(request)], [], run, "source")
    return decode(request.pipeline, latents)[0]


def fitted(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return an image (3, h, w) at another size (H, W), in [0, 1]; unchanged where it has it."""
    if image.shape[-2:] == size:
        return image
    wide = F.interpolate(image[None], size=size, mode="bicubic", antialias=True)
    return wide[0].clamp(0, 1)


def notes(asked: tuple[str, ...], edited: list[Tensor], source: Tensor) -> list[str]:
    """Return what was asked, and whether the edit was drawn at another size, as sentences."""
    told = [f"Asked: {words}" for words in asked]
    height, width = edited[0].shape[-2:]
    if edited[0].shape != source.shape:
        told.append(
            f"The model drew {width}×{height} pixels, which were brought to the source's"
            f" {source.shape[-1]}×{source.shape[-2]}."
        )
    return told
