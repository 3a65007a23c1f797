"""InstructPix2Pix: a UNet that sees the source beside the noise and follows an instruction."""

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from kdst_core import Description, hookimpl, option
from kdst_instruct.options import Instructed

if TYPE_CHECKING:
    from kdst_core.contracts import Edit, EditRequest, RunServices

CITATION = """
@inproceedings{brooks2023instructpix2pix,
  title     = {InstructPix2Pix: Learning to Follow Image Editing Instructions},
  author    = {Brooks, Tim and Holynski, Aleksander and Efros, Alexei A.},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year      = {2023}
}
"""


@frozen(kw_only=True)
class Options(Instructed):
    """Options of instruct-pix2pix, with the paper's scales."""

    method: ClassVar[str] = "instruct-pix2pix"
    pipeline: ClassVar[str] = "StableDiffusionInstructPix2PixPipeline"

    scale: float = option(7.5, "Guidance towards the instruction (s_T).", min=1)
    image_scale: float = option(1.5, "Guidance towards the source (s_I).", min=1)


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Edit by an instruction, with a model trained for it (baseline).",
        options=Options,
        paper="Brooks et al., InstructPix2Pix: Learning to Follow Image Editing Instructions,"
        " CVPR 2023",
        url="https://arxiv.org/abs/2211.09800",
        citation=CITATION,
        licence="Apache-2.0",
    )


@hookimpl
def edit(request: "EditRequest", options: Options, run: "RunServices") -> "Edit":
    """Edit the source by each target's instruction."""
    from kdst_instruct.method import edit_by_instruction

    negative = {"negative_prompt": request.negative_prompt} if request.negative_prompt else {}
    given = {"guidance_scale": options.scale, "image_guidance_scale": options.image_scale}
    return edit_by_instruction(request, options, run, given | negative)
