"""The families that the bench knows."""

from typing import Any

from kdst_core.errors import KdstError
from kdst_edit.families.family import Family
from kdst_edit.families.flux import Flux
from kdst_edit.families.pixart import PixArt
from kdst_edit.families.sd3 import StableDiffusion3
from kdst_edit.families.unet import UNet

FAMILIES: tuple[Family, ...] = (UNet(), StableDiffusion3(), Flux(), PixArt())
SUPPORTED = "Stable Diffusion 1.x, 2.x, XL and 3, FLUX.1 and PixArt can be edited"


def named(network: str) -> Family | None:
    """Return the family of a class of networks, or None."""
    return next((f for f in FAMILIES if f.network == network), None)


def family_of(model: Any) -> Family:
    """Return the family of a network, or of the one in a pipeline; KdstError for others."""
    network = network_of(model)
    found = named(type(network).__name__)
    if found is None:
        raise KdstError(f"a {type(network).__name__} cannot be controlled here; {SUPPORTED}")
    return found


def network_of(model: Any) -> Any:
    """Return the network of a pipeline, or the network itself."""
    for part in ("unet", "transformer"):
        if getattr(model, part, None) is not None:
            return getattr(model, part)
    return model
