"""The layers of a network that can be controlled, chosen by what they are and by their resolution."""

from collections.abc import Collection

from attrs import frozen
from torch import nn

from kdst_edit.families.layer import EVERYWHERE, Kind, Layer, Place
from kdst_edit.families.registry import family_of

READ: tuple[Place, ...] = ("down", "up", "block")
"""Where words are read: not in the middle of a UNet, which is coarse."""


@frozen
class Layers:
    """Chooses layers by kind, place and resolution relative to the latent, never by index.

    factors: latent side over layer side, as in (1, 2, 4); None for all. numbers: which of a block's
    residual blocks or attentions, from 0; None for all. Any function of a `Layer` can stand in its
    place where a rule asks for layers.
    """

    kind: Kind
    places: Collection[Place] = EVERYWHERE
    factors: Collection[int] | None = None
    numbers: Collection[int] | None = None

    def __call__(self, layer: Layer) -> bool:
        """Whether a layer is chosen."""
        return (
            layer.kind == self.kind
            and layer.place in self.places
            and (self.factors is None or layer.factor in self.factors)
            and (self.numbers is None or layer.number in self.numbers)
        )


def find_layers(network: nn.Module) -> list[Layer]:
    """Every layer of a network that rules can act on, in the order of its pass."""
    return family_of(network).layers(network)


def factors_of(network: nn.Module, kind: Kind, places: Collection[Place] = EVERYWHERE) -> list[int]:
    """The factors at which a network has layers of a kind, ascending."""
    return sorted({x.factor for x in find_layers(network) if x.kind == kind and x.place in places})


def map_factor(network: nn.Module, latent: tuple[int, int], side: int = 16) -> int:
    """The factor at which words are read best: the coarsest with a shorter side of at least 16.

    This is 16×16 for Stable Diffusion 1 at 512 pixels, where Hertz et al. read theirs; a latent too
    small for it is read at its finest cross-attention.
    """
    factors = factors_of(network, "cross", READ)
    fitting = [f for f in factors if min(latent) // f >= side]
    return max(fitting) if fitting else factors[0]
