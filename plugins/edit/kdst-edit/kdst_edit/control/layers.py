"""The layers of a UNet that can be controlled, named by what they are and by their resolution."""

from collections.abc import Collection, Iterator
from typing import Any, Literal

from attrs import frozen
from torch import nn

Kind = Literal["self", "cross", "feature"]
Place = Literal["down", "mid", "up"]
EVERYWHERE: tuple[Place, ...] = ("down", "mid", "up")


@frozen
class Layer:
    """One layer that a rule can act on.

    kind: `self` and `cross` are attentions, `feature` is a residual block. factor: how many times
    smaller than the latent its feature maps are. number: which of its block's residual blocks or
    attentions it is, from 0. module: the `Attention` or `ResnetBlock2D`.
    """

    name: str
    kind: Kind
    place: Place
    factor: int
    number: int
    module: Any

    def size(self, latent: tuple[int, int]) -> tuple[int, int]:
        """Height and width of its feature maps for a latent of that height and width."""
        height, width = (-(-side // self.factor) for side in latent)
        return height, width


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


def find_layers(unet: nn.Module) -> list[Layer]:
    """Every attention and residual block of a `UNet2DConditionModel`, in the order of its pass.

    Resolutions follow from the UNet's own down- and upsamplers, so they hold for any configuration.
    """
    parts: Any = unet
    found: list[Layer] = []
    factor = 1
    for number, block in enumerate(parts.down_blocks):
        found += _of_block(block, f"down_blocks.{number}", "down", factor)
        factor *= 2 if getattr(block, "downsamplers", None) else 1
    if getattr(parts, "mid_block", None) is not None:
        found += _of_block(parts.mid_block, "mid_block", "mid", factor)
    for number, block in enumerate(parts.up_blocks):
        found += _of_block(block, f"up_blocks.{number}", "up", factor)
        factor //= 2 if getattr(block, "upsamplers", None) else 1
    return found


def _of_block(block: Any, name: str, place: Place, factor: int) -> Iterator[Layer]:
    """The layers of one block of the UNet."""
    from diffusers.models.attention_processor import Attention

    for number, resnet in enumerate(getattr(block, "resnets", ())):
        yield Layer(f"{name}.resnets.{number}", "feature", place, factor, number, resnet)
    for number, attention in enumerate(getattr(block, "attentions", None) or ()):
        for path, module in attention.named_modules():
            if isinstance(module, Attention):
                kind: Kind = "cross" if module.is_cross_attention else "self"
                full = f"{name}.attentions.{number}.{path}".rstrip(".")
                yield Layer(full, kind, place, factor, number, module)


def factors_of(unet: nn.Module, kind: Kind, places: Collection[Place] = EVERYWHERE) -> list[int]:
    """The factors at which a UNet has layers of a kind, ascending."""
    return sorted({x.factor for x in find_layers(unet) if x.kind == kind and x.place in places})


def map_factor(unet: nn.Module, latent: tuple[int, int], side: int = 16) -> int:
    """The factor at which words are read best: the coarsest with a shorter side of at least 16.

    This is 16×16 for Stable Diffusion 1 at 512 pixels, where Hertz et al. read theirs; a latent too
    small for it is read at its finest cross-attention.
    """
    factors = factors_of(unet, "cross", ("down", "up"))
    fitting = [f for f in factors if min(latent) // f >= side]
    return max(fitting) if fitting else factors[0]
