"""Test-time adaptation: a trained classifier, a stream of unlabelled shifted batches."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


@frozen
class AdaptRequest:
    """What a method adapts and what it may use.

    model: classifier, images (B, C, H, W) in [0, 1] to logits (B, num_classes). It belongs to the
        user: a method works on a copy and leaves the mode, gradients and buffers of this one alone.
    num_classes: number of logits.
    input_shape: (C, H, W) of one image.
    generator: CPU generator, the only source of randomness a method may use.
    source: batches of (images (B, C, H, W), labels (B,)) from the training distribution, or None.
        A method that needs them has "source" in the `needs` of its description.
    example: the first images (b, C, H, W) of the stream, b at most 2, to try out what the model does
        with its layers; None where there are none at hand. No method may adapt to them.
    text_features: of a CLIP-like model's classes, (num_classes, D) of length 1. The model and its copies
        have `image_features(x)`, (B, D) of length 1; logits are `logit_scale` times their products.
    text: of such a model: a template with {} for the class's name to the token embeddings of its prompts,
        (num_classes, T, E), and a function from such embeddings to text features, differentiable.
    """

    model: "nn.Module"
    num_classes: int
    input_shape: tuple[int, int, int]
    generator: "Generator"
    source: "Sequence[tuple[Tensor, Tensor]] | None" = None
    example: "Tensor | None" = None
    text_features: "Tensor | None" = None
    text: "Callable[[str], tuple[Tensor, Callable[[Tensor], Tensor]]] | None" = None


@frozen
class Diagnostics:
    """What the last `predict` did.

    before_update, after_update: logits (B, num_classes) of the batch under the parameters before and
        after this call's update; equal for a method without updates. Each adaptive method is measured
        at both, because published methods differ in which of them they return.
    updates: optimiser steps taken in the call.
    samples: images of the batch that contributed to the update.
    scalars: further numbers worth a curve, e.g. {"loss": .3}.
    images: further pictures worth showing, name to (n, C, H, W) in [0, 1] or beyond (clipped).
    """

    before_update: "Tensor"
    after_update: "Tensor"
    updates: int
    samples: int
    scalars: Mapping[str, float] = field(factory=dict)
    images: "Mapping[str, Tensor]" = field(factory=dict)


class OnlinePredictor(Protocol):
    """A classifier that adapts as it predicts."""

    def predict(self, x: "Tensor") -> "Tensor":
        """Adapt to images (B, C, H, W) in [0, 1] and return logits (B, num_classes), dtype of x."""

    def reset(self) -> None:
        """Forget every batch seen: what follows equals a fresh predictor's, bit for bit."""

    @property
    def diagnostics(self) -> Diagnostics:
        """What the last `predict` did; asked for outside the timed part."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything the future depends on, random state and inner optimisers included."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
