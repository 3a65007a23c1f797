"""Qwen-Image-Edit: a flow transformer instructed by a vision-language model that sees the source."""

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from kdst_core import Description, hookimpl, option
from kdst_instruct.options import Instructed

if TYPE_CHECKING:
    from kdst_core.contracts import Edit, EditRequest, RunServices


@frozen(kw_only=True)
class Options(Instructed):
    """Options of qwen-image-edit, with the defaults of diffusers' pipeline."""

    method: ClassVar[str] = "qwen-image-edit"
    pipeline: ClassVar[str] = "QwenImageEditPipeline"

    true_cfg: float = option(
        4.0, "Scale of guidance against --negative-prompt, or a space; 1 is none.", min=1
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Edit by an instruction, with Qwen-Image-Edit (baseline).",
        options=Options,
        paper="Wu et al., Qwen-Image Technical Report, 2025",
        url="https://arxiv.org/abs/2508.02324",
        licence="Apache-2.0",
    )


@hookimpl
def edit(request: "EditRequest", options: Options, run: "RunServices") -> "Edit":
    """Edit the source by each target's instruction."""
    from kdst_instruct.method import edit_by_instruction

    given: dict[str, Any] = {"true_cfg_scale": options.true_cfg}
    if options.true_cfg > 1:
        given["negative_prompt"] = request.negative_prompt or " "
    return edit_by_instruction(request, options, run, given)
