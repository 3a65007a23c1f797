"""A classifier under prompts: logits, features before the head, and the class token's at every layer."""

import math

import torch
from attrs import frozen
from torch import Generator, Tensor, nn

from kdst_adapt.models.norms import adaptable_copy
from kdst_adapt.models.wiring import in_layout, sample, settle
from kdst_core.contracts import AdaptRequest
from kdst_core.errors import KdstError
from kdst_foa.head import Head
from kdst_foa.tokens import Tokens, blocks_of

USUAL = 3
"""Prompts by default (N_p), where there are tokens."""


@frozen
class Reading:
    """Logits (B, num_classes), features (B, d) before the head, and those of all layers (B, D)."""

    logits: Tensor
    features: Tensor
    layers: Tensor


class Network:
    """A frozen copy of a model, in evaluation mode, that can be read under prompts."""

    def __init__(
        self, request: AdaptRequest, prompts: int | None, layout: str, device: str
    ) -> None:
        self.model = adaptable_copy(request.model, device, batch_statistics=False)
        self.device = device
        floating = (t for t in self.model.parameters() if t.is_floating_point())
        self.dtype = next((t.dtype for t in floating), torch.get_default_dtype())
        images = sample(request.example, request.input_shape).to(device, self.dtype)
        self._format = settle(self.model, images, standard=layout == "standard")
        images = self.arrange(images)
        with torch.no_grad():
            self.head = Head(self.model, images, request.num_classes)
        blocks = blocks_of(self.model, images) if prompts != 0 else []
        self.tokens = Tokens(blocks) if blocks else None
        self.count, self.width = self._fitting(images, prompts)

    def arrange(self, x: Tensor) -> Tensor:
        """Return images (B, C, H, W) of any dtype as the model computes with them."""
        return in_layout(x.to(self.device, self.dtype), self._format)

    def _fitting(self, images: Tensor, prompts: int | None) -> tuple[int, int]:
        """Return how many prompts the model takes, tried on images, and how wide they are."""
        if self.tokens is None:
            if prompts:
                raise KdstError(
                    f"the model ({type(self.model).__name__}) has no blocks of tokens to put prompts"
                    " before.\nGive --prompts 0 for activation shifting alone, or a vision transformer"
                )
            return 0, 0
        count = USUAL if prompts is None else prompts
        self.read(images)
        width = self._width
        try:
            self.read(images, torch.zeros(count, width))
        except Exception as e:  # what a model raises on more tokens is open
            raise KdstError(
                f"the blocks of the model ({type(self.model).__name__}) take no further tokens"
                f" ({type(e).__name__}).\nGive --prompts 0 for activation shifting alone"
            ) from e
        return count, width

    @torch.no_grad()
    def read(self, x: Tensor, prompts: Tensor | None = None) -> Reading:
        """Return what the model makes of images (B, C, H, W) under prompts (n, D), or without."""
        if self.tokens is None:
            logits = self.model(x)
            features = self.head.take(logits)
            return Reading(logits, features, features)
        self.tokens.prompts = prompts
        try:
            logits = self.model(x)
        finally:
            self.tokens.prompts = None
        features = self.head.take(logits)
        layers = [*self.tokens.take(), features]
        self._width = layers[0].shape[1]
        return Reading(logits, features, torch.cat(layers, 1))

    def initial_prompts(self, generator: Generator) -> Tensor:
        """Draw prompts (n, D) as those of visual prompt tuning begin (Jia et al., ECCV 2022)."""
        patches = next((m for m in self.model.modules() if isinstance(m, nn.Conv2d)), None)
        fan_in = self.width if patches is None else patches.weight[0].numel()
        reach = math.sqrt(6 / (fan_in + self.width))
        drawn = torch.rand(self.count, self.width, generator=generator, dtype=torch.float64)
        return (2 * drawn - 1) * reach
