"""MasaCtrl: an image is edited while its content is read from the source by self-attention."""

from typing import TYPE_CHECKING

from attrs import frozen

from kdst_core import Description, hookimpl
from kdst_edit.options import share
from kdst_masactrl.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import Edit, EditRequest, RunServices


@frozen
class Options:
    """Options of mutual self-attention control, S and L of the paper."""

    start: float = share(
        0.08, "Share of the steps before it begins: step 4 of 50 (S), as published."
    )
    first_layer: float = share(
        0.625,
        "Share of the self-attention layers left alone: 10 of Stable Diffusion's 16 (L), as"
        " published.",
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Edit pose and layout; the content is read from the source.",
        options=Options,
        paper="Cao et al., MasaCtrl: Tuning-Free Mutual Self-Attention Control for Consistent Image"
        " Synthesis and Editing, ICCV 2023",
        url="https://arxiv.org/abs/2304.08465",
        licence="Apache-2.0",
        claims=CLAIMS,
    )


@hookimpl
def edit(request: "EditRequest", options: Options, run: "RunServices") -> "Edit":
    """Edit the source towards each target."""
    from kdst_masactrl.method import edit_with_mutual_attention

    return edit_with_mutual_attention(request, options, run)
