"""Prompt-to-Prompt: an image is edited by changing words of the prompt that made it."""

from typing import TYPE_CHECKING

from kdst_core import Description, hookimpl
from kdst_p2p.claims import CLAIMS
from kdst_p2p.options import Options

if TYPE_CHECKING:
    from kdst_core.contracts import Edit, EditRequest, RunServices


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Edit an image by changing its prompt, with control of cross-attention.",
        options=Options,
        paper="Hertz et al., Prompt-to-Prompt Image Editing with Cross Attention Control, ICLR 2023",
        url="https://arxiv.org/abs/2208.01626",
        licence="Apache-2.0",
        claims=CLAIMS,
    )


@hookimpl
def edit(request: "EditRequest", options: Options, run: "RunServices") -> "Edit":
    """Edit the source towards each target."""
    from kdst_p2p.method import edit_prompt_to_prompt

    return edit_prompt_to_prompt(request, options, run)
