"""In how many bits calls are proposed and screened: as few as pay, where the CPU computes in them."""

from typing import Literal, cast

from torch import nn

from kdst_core.errors import KdstError
from kdst_toolformer.reading import eight_bits, layers, sixteen_bits

Proposing = Literal["same", "int8", "bfloat16"]
SamplingDtype = Literal["auto", "same", "int8", "bfloat16"]
Screen = Literal["auto", "no", "bfloat16"]

KINDS = {"int8": eight_bits.against, "bfloat16": sixteen_bits.against}
"""Why a model cannot be computed so, by precision; faster ones first."""


def proposing(model: nn.Module, asked: SamplingDtype) -> Proposing:
    """Return how calls are proposed; KdstError where what was asked for cannot be."""
    if asked in KINDS and (reason := KINDS[asked](model)):
        raise KdstError(f"--sampling-dtype {asked}: {reason}.\nGive auto or same")
    if asked != "auto":
        return asked
    usable = [kind for kind, against in KINDS.items() if not against(model)]
    return cast(Proposing, usable[0]) if usable and layers.pays(model) else "same"


def screening(model: nn.Module, asked: Screen, losses: str) -> bool:
    """Return whether calls are screened in bfloat16; KdstError where that was asked for and cannot be."""
    every = "--losses all asks for the losses of every call" if losses == "all" else ""
    reason = every or sixteen_bits.against(model)
    if asked == "bfloat16" and reason:
        raise KdstError(f"--screen bfloat16: {reason}.\nGive --screen auto or no")
    if asked != "auto":
        return asked == "bfloat16"
    return layers.pays(model) and not reason
