"""The network as inversion sees it: a function of noisy latents and a timestep."""

from collections.abc import Callable
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_edit.families.conditioning import Conditioning
from kdst_edit.families.family import Told
from kdst_edit.families.registry import family_of, named, network_of

Predict = Callable[[Tensor, Any], Tensor]
"""Noisy latents (1, C, h, w) and a timestep to the network's output, of the same shape."""


@frozen
class Denoiser:
    """A network under classifier-free guidance between a prompt and an unconditional embedding.

    A network that is told the guidance has one row and no negative prompt.
    """

    network: Any
    positive: Conditioning
    negative: Conditioning
    guidance: float = 1.0
    told: Told = field(factory=dict)

    @classmethod
    def of(
        cls, pipeline: Any, positive: Conditioning, negative: Conditioning, guidance: float
    ) -> "Denoiser":
        """Return the pipeline's network under a guidance, told it where it is to be told."""
        told = family_of(pipeline).told(pipeline, [guidance])
        scale = 1.0 if told else guidance
        return cls(network_of(pipeline), positive, negative, scale, told)

    def __call__(self, x: Tensor, timestep: Any) -> Tensor:
        """The guided output for `x` (1, C, h, w), without gradients; one row up to guidance 1."""
        with torch.no_grad():
            if self.guidance <= 1.0:
                return self.output(x, timestep, self.positive)
            both = self.output(x.expand(2, -1, -1, -1), timestep, self.negative + self.positive)
            without, told = both.chunk(2)
            return without + self.guidance * (told - without)

    def output(self, x: Tensor, timestep: Any, words: Conditioning) -> Tensor:
        """The plain output for rows `x` (B, C, h, w) under `words` of B rows."""
        family = named(type(self.network).__name__)
        if family is None:  # called as a UNet is
            found: Tensor = self.network(x, timestep, **words.kwargs()).sample
            return found
        return family.predict(self.network, x, timestep, words, self.told)
