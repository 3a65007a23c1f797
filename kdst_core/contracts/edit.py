"""Editing: a text-to-image diffusion model, a source prompt or image, one or more target prompts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    from torch import Generator, Tensor


@frozen
class SourcePath:
    """A real image, inverted: how sampling gets back to it.

    latents: (N + 1, C, h, w), latents[i] is the source before step i, latents[N] the image.
    start: the first step to carry out; sampling begins with latents[start] in every branch.
    negative: (N, T, D), the embedding to use for the negative prompt at each step (null-text
    inversion), or None. noises: (N, C, h, w), the noise that each step adds (edit-friendly DDPM
    inversion), or None. resets: whether the source is put back on the path after each step (Direct
    Inversion). towards: (N,), the share of each step's velocity that points straight to the image, in
    every branch (RF-Inversion), or None. prompt, guidance: with which the source was inverted and gets
    back; guidance None is that of the request.
    """

    latents: "Tensor"
    prompt: str = ""
    guidance: float | None = None
    start: int = 0
    negative: "Tensor | None" = None
    noises: "Tensor | None" = None
    resets: bool = False
    towards: "Tensor | None" = None


@frozen
class EditRequest:
    """What to edit.

    pipeline: a diffusers text-to-image pipeline; restored to what it was when the edit is done.
    source_prompt: what the source shows; may be empty for a real image.
    source_image: (3, H, W) in [0, 1] of a real image, or None to generate the source.
    targets: the prompts to edit towards, at least one.
    generator: CPU generator, the only source of randomness a method may use.
    latents: (1, C, h, w), the noise that the source and every edit start from.
    negative_prompt, num_steps, guidance: of sampling. num_steps counts calls of the network.
    path: the inversion of `source_image`; None without one, and for methods that need none.
    max_rows: the most rows one call of the UNet may have, or None.
    confine: (h, w), 1 in the latents that edits may change, 0 where they stay the source; or None.
    scheduler: a diffusers scheduler, or None for a deterministic DDIM one. sampler_steps: what its
    `set_timesteps` is asked for, or None for num_steps. guidance_rescale: share of rescaled guidance,
    0 for none.
    """

    pipeline: Any
    source_prompt: str
    source_image: "Tensor | None"
    targets: Sequence[str]
    generator: "Generator"
    latents: "Tensor"
    negative_prompt: str = ""
    num_steps: int = 50
    guidance: float = 7.5
    path: SourcePath | None = None
    max_rows: int | None = None
    confine: "Tensor | None" = None
    scheduler: Any = None
    sampler_steps: int | None = None
    guidance_rescale: float = 0.0


@frozen
class EditedImage:
    """image: (3, H, W) in [0, 1]. prompt: its target.

    mask: (h, w) in [0, 1] of what the method let change, or None. attention: word of the prompt to its
    mean cross-attention map (h, w), as the network made it.
    """

    image: "Tensor"
    prompt: str
    mask: "Tensor | None" = None
    attention: "Mapping[str, Tensor]" = field(factory=dict)


@frozen
class TokenAlignment:
    """Which tokens of the source a target's tokens take their attention from.

    source, target: the tokens as text. links: (source position, target position, weight).
    """

    prompt: str
    source: Sequence[str]
    target: Sequence[str]
    links: Sequence[tuple[int, int, float]]


@frozen
class ContactSheet:
    """Edits over a grid of parameters. images: (R, C, 3, H, W) in [0, 1], one label a row and column."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    images: "Tensor"


@frozen
class Edit:
    """The edited images, and what explains them.

    images: one for each target, in order.
    reconstruction: (3, H, W) in [0, 1], the source as the model draws it in the same run.
    attention: word of the source prompt to its mean cross-attention map (h, w).
    notes: sentences that explain the edit, for terminal and report. warnings: why it may be without
    effect. learned: words of the targets that the method taught the model.
    """

    images: Sequence[EditedImage]
    reconstruction: "Tensor"
    attention: "Mapping[str, Tensor]" = field(factory=dict)
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    alignments: Sequence[TokenAlignment] = ()
    sheets: Sequence[ContactSheet] = ()
    learned: Sequence[str] = ()
