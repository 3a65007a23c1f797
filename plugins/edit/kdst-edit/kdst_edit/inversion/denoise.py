"""The network as inversion sees it: a function of noisy latents and a timestep."""

from collections.abc import Callable
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from kdst_edit.models.latents import Conditioning

Predict = Callable[[Tensor, int], Tensor]
"""Noisy latents (1, C, h, w) and a timestep to the network's output, of the same shape."""


@frozen
class Denoiser:
    """A UNet under classifier-free guidance between a prompt and an unconditional embedding."""

    unet: Any
    positive: Conditioning
    negative: Conditioning
    guidance: float = 1.0

    def __call__(self, x: Tensor, timestep: int) -> Tensor:
        """The guided output for `x` (1, C, h, w), without gradients; one row up to guidance 1."""
        with torch.no_grad():
            if self.guidance <= 1.0:
                return self.output(x, timestep, self.positive)
            both = self.output(x.expand(2, -1, -1, -1), timestep, self.negative + self.positive)
            without, told = both.chunk(2)
            return without + self.guidance * (told - without)

    def output(self, x: Tensor, timestep: int, words: Conditioning) -> Tensor:
        """The plain output for rows `x` (B, C, h, w) under `words` of B rows."""
        found: Tensor = self.unet(x, timestep, **words.kwargs()).sample
        return found
