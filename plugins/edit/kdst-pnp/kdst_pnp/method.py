"""Plug-and-Play as two rules: which features and which self-attention are injected, and when.

Tumanyan et al. (CVPR 2023), algorithm 1: features f of one decoder layer for t > τ_f, attention A of
the decoder layers from there on for t > τ_A.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from kdst_core.contracts import Edit, EditRequest, RunServices
from kdst_core.errors import KdstError
from kdst_edit.control.layers import Layers, factors_of, find_layers
from kdst_edit.control.rules import CopyFeature, CopyQK
from kdst_edit.control.session import Rule
from kdst_edit.families.layer import Layer, Place
from kdst_edit.families.registry import network_of
from kdst_edit.kit import edit_with, shares

if TYPE_CHECKING:
    from kdst_pnp import Options

UP: tuple[Place, ...] = ("up",)


def edit_with_injection(request: EditRequest, options: "Options", run: RunServices) -> Edit:
    """Edit the source towards each target, with its features and self-attention injected."""
    edit = edit_with(request, rules(request, options), run)
    return attrs.evolve(edit, warnings=[*edit.warnings, *idle(request, options)])


def rules(request: EditRequest, options: "Options") -> list[Rule]:
    """The rules of an edit; one with an empty window is left out.

    Both change the rows of the negative prompt too, as published. The share is one of the steps that
    are carried out, rounded down, as in the authors' newer code.
    """
    unet = network_of(request.pipeline)
    if not any(layer.kind == "feature" for layer in find_layers(unet)):
        raise KdstError(
            f"pnp injects features of a UNet's decoder; a {type(unet).__name__} has neither. p2p, masactrl"
            " and flowedit edit with it"
        )
    features = Features(feature_factors(unet, options), options.feature_block)
    until_f, until_a = (shares(request, end=x) for x in (options.pnp_f_t, options.pnp_attn_t))
    found: list[Rule] = []
    if until_f:
        found.append(CopyFeature(layers=features, steps=until_f, rows="all"))
    if until_a:
        chosen = attention(unet, options, features)
        found.append(CopyQK(layers=chosen, steps=until_a, rows="all"))
    return found


def idle(request: EditRequest, options: "Options") -> list[str]:
    """Sentences about shares of the steps in which there is no step."""
    given = {"--pnp-f-t": options.pnp_f_t, "--pnp-attn-t": options.pnp_attn_t}
    return [
        f"{flag} {share:g} has no effect: no step of {len(shares(request))} is in it."
        for flag, share in given.items()
        if share and not shares(request, end=share)
    ]


def feature_factors(unet: Any, options: "Options") -> tuple[int, ...]:
    """The levels on the way up whose features are injected.

    Of four levels the second from the coarsest, as published for Stable Diffusion. A UNet with fewer
    holds its layout in its two coarsest levels.
    """
    levels = sorted(factors_of(unet, "feature", UP), reverse=True)
    _check("--feature-factors", options.feature_factors, levels)
    default = levels[1:2] if len(levels) > 3 else levels[:2]
    return tuple(options.feature_factors or default)


@frozen
class Features:
    """Chooses one residual block of each of some levels on the way up."""

    factors: tuple[int, ...]
    block: int

    def __call__(self, layer: Layer) -> bool:
        """Whether features are injected into a layer."""
        return Layers("feature", UP, self.factors, (self.block,))(layer)


@frozen
class AttentionAfter:
    """Chooses the self-attention that follows the first injected features."""

    features: Features

    def __call__(self, layer: Layer) -> bool:
        """Whether self-attention is injected into a layer."""
        first = max(self.features.factors)
        later = layer.factor < first or layer.number >= self.features.block
        return Layers("self", UP)(layer) and layer.factor <= first and later


def attention(unet: Any, options: "Options", features: Features) -> Any:
    """The choice of layers whose self-attention is injected."""
    if not options.attention_factors:
        return AttentionAfter(features)
    _check("--attention-factors", options.attention_factors, factors_of(unet, "self", UP))
    return Layers("self", UP, tuple(options.attention_factors))


def _check(flag: str, given: Sequence[int], there: Sequence[int]) -> None:
    """Raise KdstError for a level that the UNet does not have."""
    unknown = [f for f in given if f not in there]
    if unknown:
        has = ", ".join(map(str, sorted(there)))
        raise KdstError(f"{flag} {unknown[0]}: this model has such layers at {has} only")
