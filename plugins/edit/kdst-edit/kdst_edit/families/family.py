"""What the bench asks of a family of networks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit.families.conditioning import Conditioning, TokenRange
from kdst_edit.families.layer import Layer

Told = Mapping[str, Tensor]


class Family(ABC):
    """One kind of network, as diffusers has it.

    network: its class. part: the part of a pipeline that it is. pipelines: the pipelines it is sampled
    by, the usual one first. flow: whether it was trained by flow matching, so that it predicts the
    velocity of straight paths from image to noise. encoders: how many text encoders it has.
    """

    network: ClassVar[str]
    part: ClassVar[Literal["unet", "transformer"]] = "transformer"
    pipelines: ClassVar[tuple[str, ...]]
    flow: ClassVar[bool] = True
    encoders: ClassVar[int] = 1
    processors: ClassVar[frozenset[tuple[str, str]]]
    """Module and name of the attention processors that compute as control does."""
    usual: ClassVar[str]
    """The name of diffusers' own among them."""

    def of(self, pipeline: Any) -> Any:
        """Return the network of a pipeline."""
        return getattr(pipeline, self.part)

    @abstractmethod
    def layers(self, network: Any) -> list[Layer]:
        """Return the layers that can be controlled, in the order of the network's pass."""

    @abstractmethod
    def texts(self, pipeline: Any) -> tuple[TokenRange, ...]:
        """Return where the tokens of a prompt are in the text that attention sees."""

    @abstractmethod
    def condition(
        self, pipeline: Any, prompts: Sequence[str], size: tuple[int, int]
    ) -> Conditioning:
        """Encode prompts for images of `size` (H, W) pixels, as the pipeline does."""

    @abstractmethod
    def predict(self, network: Any, x: Tensor, t: Any, words: Conditioning, told: Told) -> Tensor:
        """Return the network's output for latents (B, C, h, w) at timestep t, of the same shape."""

    def told(self, pipeline: Any, scales: Sequence[float]) -> Told:
        """Return what a network that is told the guidance takes of some scales, by argument."""
        return {}

    def channels(self, network: Any) -> int:
        """Return the channels of a latent."""
        return int(network.config.in_channels)

    def patch(self, network: Any) -> int:
        """Return the latents that both sides must be divisible by."""
        return int(network.config.patch_size)

    def native(self, network: Any) -> int:
        """Return the side in latents of the square images that the network was made for."""
        side = network.config.sample_size
        return int(min(side) if isinstance(side, list | tuple) else side)

    def statistics(self, pipeline: Any) -> tuple[Any, Any]:
        """Return mean and deviation of the autoencoder's latents, as the pipeline uses them."""
        return pipeline.vae.config.get("shift_factor") or 0.0, 1.0

    def defaults(self, pipeline: Any) -> tuple[int, float]:
        """Return the steps and guidance of the pipeline itself."""
        return 28, 7.0

    def set_steps(self, network: Any, scheduler: Any, count: int, latent: tuple[int, int]) -> None:
        """Set the timesteps of a flow-matching scheduler as the pipeline does for a latent (h, w)."""
        scheduler.set_timesteps(count)

    @abstractmethod
    def check(self, pipeline: Any, name: str) -> None:
        """Raise KdstError for a network that expects more than latents, a text and the guidance."""


def check_channels(pipeline: Any, network: Any, latent: int, name: str) -> None:
    """Raise KdstError where a network takes or gives other latents than the autoencoder's."""
    given = pipeline.vae.config.latent_channels
    kind = type(network).__name__
    if given != latent:
        raise KdstError(
            f"model {name} is not a plain text-to-image model: its {kind} takes {latent} channels,"
            f" its autoencoder gives {given}"
        )


def expanded(t: Any, x: Tensor) -> Tensor:
    """Return a timestep as (B,), one for each row of x."""
    return torch.as_tensor(t, device=x.device).expand(len(x))


def each_once(prompts: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the different prompts, and which of them each prompt is."""
    different = list(dict.fromkeys(prompts))
    return different, [different.index(prompt) for prompt in prompts]
