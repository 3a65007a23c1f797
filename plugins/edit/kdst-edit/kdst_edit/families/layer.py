"""One layer of a network that rules can act on."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from attrs import frozen
from torch import Tensor

Kind = Literal["self", "cross", "feature"]
Place = Literal["down", "mid", "up", "block"]
EVERYWHERE: tuple[Place, ...] = ("down", "mid", "up", "block")
"""Every place; the blocks of a transformer, which has no levels, are at `block`."""

TWICE: tuple[tuple[Kind, str], ...] = (("self", ""), ("cross", ".text"))
"""How a joint attention is found: its kinds, and what each adds to its name."""


@frozen
class Parts:
    """Queries, keys and values (rows, H, N, d) of a joint attention, and which of the N tokens are what."""

    query: Tensor
    key: Tensor
    value: Tensor
    image: slice
    text: slice


class Joint(ABC):
    """How a layer attends over image and text at once.

    mixed: whether one projection carries both, the text first.
    """

    mixed: ClassVar[bool] = False

    @abstractmethod
    def parts(
        self, attn: Any, image: Tensor, words: Tensor | None, rotary: Any, pixels: int
    ) -> Parts:
        """Project image tokens (rows, P, C) and text tokens (rows, T, C), or both in one.

        rotary: what the network turns queries and keys by, or None. pixels: P.
        """

    @abstractmethod
    def outputs(self, attn: Any, attended: Tensor, parts: Parts) -> Tensor | tuple[Tensor, Tensor]:
        """Return what the layer gives for attended values (rows, H, N, d): the image's, then the text's.

        One tensor where one projection carries both.
        """


@frozen
class Layer:
    """One layer that a rule can act on.

    kind: `self` and `cross` are attentions, `feature` is a residual block. factor: how many times
    smaller than the latent its feature maps are. number: which of its block's residual blocks or
    attentions it is, from 0; of a transformer, which block. module: the `Attention` or `ResnetBlock2D`.
    joint: how a layer attends over image and text at once; such a layer is found twice, as the image's
    attention to itself and to the text, and one softmax goes over both.
    """

    name: str
    kind: Kind
    place: Place
    factor: int
    number: int
    module: Any
    joint: Joint | None = None

    def size(self, latent: tuple[int, int]) -> tuple[int, int]:
        """Height and width of its feature maps for a latent of that height and width."""
        height, width = (-(-side // self.factor) for side in latent)
        return height, width

    def pixels(self, latent: tuple[int, int]) -> int:
        """How many image tokens it has."""
        height, width = self.size(latent)
        return height * width

    def image(self, latent: tuple[int, int]) -> slice:
        """Which tokens of what its projections `to_q`, `to_k`, `to_v` give are the image's."""
        mixed = self.joint is not None and self.joint.mixed
        return slice(-self.pixels(latent), None) if mixed else slice(None)
