"""MasaCtrl: an image is edited while its content is read from the source by self-attention."""

from typing import TYPE_CHECKING

from attrs import frozen

from kdst_core import Description, hookimpl, option

if TYPE_CHECKING:
    from kdst_core.contracts import Edit, EditRequest, RunServices
    from kdst_edit.layers import Layer


@frozen
class MasactrlOptions:
    """Options of mutual self-attention control, S and L of the paper."""

    start: float = option(
        0.08, "Share of the steps before it begins: step 4 of 50 (S), as published.", min=0, max=1
    )
    first_layer: float = option(
        0.625,
        "Share of the self-attention layers left alone: 10 of Stable Diffusion's 16 (L), as"
        " published.",
        min=0,
        max=1,
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Edit pose and layout; the content is read from the source.",
        options=MasactrlOptions,
        paper="Cao et al., MasaCtrl: Tuning-Free Mutual Self-Attention Control for Consistent Image"
        " Synthesis and Editing, ICCV 2023",
        url="https://arxiv.org/abs/2304.08465",
        licence="Apache-2.0",
    )


@hookimpl
def edit(request: "EditRequest", options: MasactrlOptions, run: "RunServices") -> "Edit":
    """Edit the source towards each target; keys and values come from the source (equation 4)."""
    from kdst_core.errors import KdstError
    from kdst_edit.kit import carried_out, edit_with
    from kdst_edit.layers import find_layers
    from kdst_edit.rules import CopyKV

    layers = [x.name for x in find_layers(request.pipeline.unet) if x.kind == "self"]
    chosen = set(layers[round(options.first_layer * len(layers)) :])
    there = carried_out(request)
    steps = there[round(options.start * len(there)) :]
    if not chosen or not steps:
        raise KdstError(
            "--start and --first-layer leave no step or no layer to control; lower them"
        )

    def late(layer: "Layer") -> bool:
        return layer.name in chosen

    return edit_with(request, [CopyKV(layers=late, steps=steps, rows="all")], run)
