"""Carry a run out: invert the photograph, call the method, sample the targets without control."""

from typing import Any

import torch
from attrs import frozen

from kdst_core.contracts import Edit, EditRequest, RunServices
from kdst_core.errors import KdstError
from kdst_core.runs.rundir import Run
from kdst_edit.families.registry import family_of, network_of
from kdst_edit.inversion.cache import Cache
from kdst_edit.inversion.invert import invert
from kdst_edit.inversion.result import Inversion
from kdst_edit.inversion.settings import InversionSettings
from kdst_edit.kit import attention_of, sample_request, target_branches, word_maps
from kdst_edit.load.target import Target
from kdst_edit.measures import PromptedImage
from kdst_edit.models.latents import decode, latent_factor
from kdst_edit.models.precision import computing_in


@frozen
class Finished:
    """What a run made: the inversion, if any, the method's edit, and the targets without control."""

    inversion: Inversion | None
    edit: Edit
    uncontrolled: list[PromptedImage]


def carry_out(target: Target, run: Run) -> Finished:
    """Invert, edit and sample without control; within `target.working`."""
    inversion, request, edit = edited(target, run)
    return Finished(inversion, edit, uncontrolled(target, request, run))


def edited(target: Target, run: RunServices) -> tuple[Inversion | None, EditRequest, Edit]:
    """Invert the photograph, if there is one, and call the method; within `target.working`."""
    inversion = inverted(target, run)
    request = requested(target, inversion)
    edit = target.job.method.call(request, target.job.options, run)
    check_result(edit, request)
    return inversion, request, edit


def inverted(target: Target, run: RunServices) -> Inversion | None:
    """Return the inversion of the photograph, in float32; None where there is none, or no need of it."""
    if target.image is None or not target.inverted:
        return None
    inputs = target.inputs
    settings = InversionSettings(
        kind=inputs.inversion,
        steps=target.plan.steps,
        substeps=inputs.substeps,
        fixed_point=inputs.fixed_point,
        guidance=target.plan.guidance,
        skip=inputs.skip,
        gamma=inputs.rf_gamma,
        eta=inputs.rf_eta,
        led=inputs.rf_led,
    )
    prompt = inputs.inversion_prompt
    with computing_in(target.pipeline, torch.float32):
        return invert(
            target.pipeline,
            target.image,
            target.source if prompt is None else prompt,
            settings,
            generator=torch.Generator().manual_seed(target.job.seed),
            cache=Cache(inputs.inversions or run.dir / "inversions"),
            progress=run.progress,
        )


def requested(target: Target, inversion: Inversion | None) -> EditRequest:
    """Return what the method is asked."""
    generator = torch.Generator().manual_seed(target.job.seed)
    if inversion is None:
        shape = [side // latent_factor(target.pipeline) for side in target.size]
        channels = family_of(target.pipeline).channels(network_of(target.pipeline))
        latents = torch.randn(1, channels, *shape, generator=generator)
    else:
        latents = inversion.latents[inversion.start][None]
    return EditRequest(
        target.pipeline,
        target.source,
        target.image,
        target.targets,
        generator,
        latents.to(target.device, torch.float32),
        negative_prompt=target.inputs.negative_prompt,
        num_steps=target.plan.steps,
        guidance=target.plan.guidance,
        path=inversion,
        max_rows=target.inputs.max_rows,
        confine=target.confine,
        scheduler=target.plan.scheduler,
        sampler_steps=target.plan.asked,
        guidance_rescale=target.inputs.guidance_rescale,
    )


def uncontrolled(target: Target, request: EditRequest, run: Run) -> list[PromptedImage]:
    """Return the targets sampled from the same noise without control.

    None where they are not wanted, and none for a photograph that was not inverted: no noise is its own.
    """
    if not target.inputs.baseline or (request.source_image is not None and request.path is None):
        return []
    branches = target_branches(request)
    words = word_maps(request, request.targets)
    latents = sample_request(request, branches, [words], run, "without control")
    images = decode(request.pipeline, latents).cpu()
    return [
        PromptedImage(image, branch.prompt, attention_of(request, words, i, branch.prompt))
        for i, (image, branch) in enumerate(zip(images, branches, strict=True))
    ]


def check_result(edit: Any, request: EditRequest) -> None:
    """Raise KdstError when a method returned something else than an edit of the request."""
    if not isinstance(edit, Edit):
        raise KdstError(f"the method returned a {type(edit).__name__}, not an Edit")
    if [e.prompt for e in edit.images] != list(request.targets):
        raise KdstError("the method did not return one image for each target, in their order")
    if any(
        type(i) is not torch.Tensor for i in (edit.reconstruction, *(e.image for e in edit.images))
    ):
        raise KdstError("the method returned images that are no plain torch.Tensor")
    shape = edit.reconstruction.shape
    if len(shape) != 3 or any(e.image.shape != shape for e in edit.images):
        raise KdstError("the method returned images of different sizes")
