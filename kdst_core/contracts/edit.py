"""Editing: a text-to-image diffusion model, a source prompt or image, one or more target prompts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    from torch import Generator, Tensor


@frozen
class EditRequest:
    """What to edit.

    pipeline: a diffusers text-to-image pipeline; restored to what it was when the edit is done.
    source_prompt: what the source shows; may be empty for a real image.
    source_image: (3, H, W) in [0, 1] of a real image, or None to generate the source.
    targets: the prompts to edit towards, at least one.
    generator: CPU generator of the initial noise.
    """

    pipeline: Any
    source_prompt: str
    source_image: "Tensor | None"
    targets: Sequence[str]
    generator: "Generator"


@frozen
class EditedImage:
    """image: (3, H, W) in [0, 1]. prompt: its target. mask: (H, W) in [0, 1] of what may change."""

    image: "Tensor"
    prompt: str
    mask: "Tensor | None" = None


@frozen
class Edit:
    """The edited images, and what explains them.

    reconstruction: (3, H, W) in [0, 1], the source as the model draws it.
    attention: word of the source prompt to its mean cross-attention map (h, w), sums to 1.
    """

    images: Sequence[EditedImage]
    reconstruction: "Tensor"
    attention: "Mapping[str, Tensor]" = field(factory=dict)
