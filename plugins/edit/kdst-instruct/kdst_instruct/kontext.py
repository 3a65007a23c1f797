"""FLUX.1 Kontext: a flow transformer that reads the source's tokens beside those of the edit."""

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from kdst_core import Description, hookimpl, option
from kdst_instruct.options import Instructed

if TYPE_CHECKING:
    from kdst_core.contracts import Edit, EditRequest, RunServices


@frozen(kw_only=True)
class Options(Instructed):
    """Options of flux-kontext, with the defaults of diffusers' pipeline."""

    method: ClassVar[str] = "flux-kontext"
    pipeline: ClassVar[str] = "FluxKontextPipeline"

    scale: float = option(3.5, "Guidance that the distilled model is told.", min=0)
    true_cfg: float = option(
        1.0, "Scale of guidance against --negative-prompt by a second call; 1 is none.", min=1
    )
    area: int = option(
        1024**2, "Pixels of the edit, which is brought to the source's size afterwards.", min=256
    )
    own_sizes: bool = option(
        True, "Show the model the source in the nearest of the sizes that it was trained with."
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Edit by an instruction, with FLUX.1 Kontext (baseline).",
        options=Options,
        paper="Black Forest Labs, FLUX.1 Kontext: Flow Matching for In-Context Image Generation and"
        " Editing in Latent Space, 2025",
        url="https://arxiv.org/abs/2506.15742",
        licence="Apache-2.0",
    )


@hookimpl
def edit(request: "EditRequest", options: Options, run: "RunServices") -> "Edit":
    """Edit the source by each target's instruction."""
    from kdst_instruct.method import edit_by_instruction, source_size

    height, width = source_size(request)
    given: dict[str, Any] = {
        "guidance_scale": options.scale,
        "true_cfg_scale": options.true_cfg,
        "max_area": options.area,
        "_auto_resize": options.own_sizes,
        "height": height,
        "width": width,
    }
    if request.negative_prompt:
        given["negative_prompt"] = request.negative_prompt
    return edit_by_instruction(request, options, run, given)
