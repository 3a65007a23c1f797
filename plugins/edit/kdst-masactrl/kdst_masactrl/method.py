"""Mutual self-attention control: edits read keys and values of the source.

Cao et al. (ICCV 2023), equation 4 and algorithm 1.
"""

from typing import TYPE_CHECKING

from kdst_core.contracts import Edit, EditRequest, RunServices
from kdst_core.errors import KdstError
from kdst_edit.control.layers import find_layers
from kdst_edit.control.rules import CopyKV
from kdst_edit.families.layer import Layer
from kdst_edit.families.registry import network_of
from kdst_edit.kit import carried_out, edit_with

if TYPE_CHECKING:
    from kdst_masactrl import Options


def edit_with_mutual_attention(request: EditRequest, options: "Options", run: RunServices) -> Edit:
    """Edit the source towards each target, from step S and self-attention layer L on."""
    layers = [x.name for x in find_layers(network_of(request.pipeline)) if x.kind == "self"]
    chosen = set(layers[round(options.first_layer * len(layers)) :])
    there = carried_out(request)
    steps = there[round(options.start * len(there)) :]
    if not chosen or not steps:
        raise KdstError(
            "--start and --first-layer leave no step or no layer to control; lower them"
        )

    def late(layer: Layer) -> bool:
        return layer.name in chosen

    return edit_with(request, [CopyKV(layers=late, steps=steps, rows="all")], run)
