"""Plug-and-Play: an image is edited while features and self-attention keep its structure."""

from typing import TYPE_CHECKING

from attrs import frozen

from kdst_core import Description, hookimpl, option
from kdst_edit.options import share
from kdst_pnp.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import Edit, EditRequest, RunServices


@frozen
class Options:
    """Options of Plug-and-Play; the first two have the names and defaults of the authors' code."""

    pnp_f_t: float = share(0.8, "Share of the steps in which the source's features are injected.")
    pnp_attn_t: float = share(
        0.5, "Share of the steps in which the source's self-attention is injected."
    )
    feature_factors: list[int] = option(
        [],
        "Inject features of the layers this many times smaller than the latent, on the way up."
        " Default: 4 for Stable Diffusion 1 and 2, as published; see the README for other UNets.",
        min=1,
    )
    feature_block: int = option(
        1, "Which residual block of such a level, from 0; 1 as published.", min=0
    )
    attention_factors: list[int] = option(
        [],
        "Inject self-attention of the layers this many times smaller than the latent, on the way up."
        " Default: as published, all that follow the first injected features.",
        min=1,
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Edit an image under a new prompt, keeping its structure by injected features.",
        options=Options,
        paper="Tumanyan et al., Plug-and-Play Diffusion Features for Text-Driven Image-to-Image"
        " Translation, CVPR 2023",
        url="https://arxiv.org/abs/2211.12572",
        licence="Apache-2.0",
        claims=CLAIMS,
    )


@hookimpl
def edit(request: "EditRequest", options: Options, run: "RunServices") -> "Edit":
    """Edit the source towards each target."""
    from kdst_pnp.method import edit_with_injection

    return edit_with_injection(request, options, run)
