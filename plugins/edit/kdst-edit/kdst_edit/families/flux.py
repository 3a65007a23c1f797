"""FLUX.1: double blocks as in Stable Diffusion 3, then single blocks with one projection for both."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit.families.conditioning import Conditioning, TokenRange
from kdst_edit.families.family import Family, Told, check_channels, each_once, expanded
from kdst_edit.families.layer import TWICE, Joint, Layer, Parts
from kdst_edit.families.sd3 import shift

PACKED = 2
"""Latents a token is wide and high: the pipeline packs them."""
LONG = 512
"""Tokens of T5, the pipeline's only words."""


class DoubleAttention(Joint):
    """Image and text are projected apart and attend together, the text first."""

    def parts(
        self, attn: Any, image: Tensor, words: Tensor | None, rotary: Any, pixels: int
    ) -> Parts:
        """Project both."""
        assert words is not None
        mine = attn.to_q(image), attn.to_k(image), attn.to_v(image)
        texts = attn.add_q_proj(words), attn.add_k_proj(words), attn.add_v_proj(words)
        norms = (attn.norm_added_q, attn.norm_q), (attn.norm_added_k, attn.norm_k), (None, None)
        query, key, value = (
            torch.cat([_heads(attn, b, norm[0]), _heads(attn, a, norm[1])], 1)
            for a, b, norm in zip(mine, texts, norms, strict=True)
        )
        return _turned(query, key, value, rotary, pixels)

    def outputs(self, attn: Any, attended: Tensor, parts: Parts) -> tuple[Tensor, Tensor]:
        """Split, and project each."""
        flat = attended.transpose(1, 2).flatten(2)
        image, text = flat[:, parts.image].contiguous(), flat[:, parts.text].contiguous()
        return attn.to_out[1](attn.to_out[0](image)), attn.to_add_out(text)


class SingleAttention(Joint):
    """One projection carries text and image, the text first."""

    mixed = True

    def parts(
        self, attn: Any, image: Tensor, words: Tensor | None, rotary: Any, pixels: int
    ) -> Parts:
        """Project what holds both."""
        query, key = (
            _heads(attn, attn.to_q(image), attn.norm_q),
            _heads(attn, attn.to_k(image), attn.norm_k),
        )
        return _turned(query, key, _heads(attn, attn.to_v(image), None), rotary, pixels)

    def outputs(self, attn: Any, attended: Tensor, parts: Parts) -> Tensor:
        """Return both in one; the block projects them."""
        return attended.transpose(1, 2).flatten(2)


def _heads(attn: Any, projected: Tensor, norm: Any) -> Tensor:
    """A projection (rows, N, H · d) as (rows, N, H, d), normalised."""
    split: Tensor = projected.unflatten(-1, (-1, attn.head_dim))
    return split if norm is None else norm(split)


def _turned(query: Tensor, key: Tensor, value: Tensor, rotary: Any, pixels: int) -> Parts:
    """Parts (rows, H, N, d) of projections (rows, N, H, d), turned by their positions."""
    if rotary is not None:
        query, key = (turned(x, rotary) for x in (query, key))
    words = query.shape[1] - pixels
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    return Parts(query, key, value, slice(words, None), slice(0, words))


def turned(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Return x (rows, N, H, d), its pairs of channels turned by cosines and sines (N, d), in float32.

    On a CPU as products of complex numbers: the same to the last bits as diffusers' own, in one pass.
    """
    from diffusers.models.embeddings import apply_rotary_emb

    if x.device.type != "cpu":
        theirs: Any = apply_rotary_emb
        stock: Tensor = theirs(x, rotary, sequence_dim=1)
        return stock
    turns = torch.complex(*(part[:, ::2].float().contiguous() for part in rotary))[:, None]
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)


class Flux(Family):
    """`FluxTransformer2DModel`; one that was distilled is told the guidance."""

    network = "FluxTransformer2DModel"
    pipelines = ("FluxPipeline",)
    encoders = 2
    usual = "FluxAttnProcessor"
    processors = frozenset({("diffusers.models.transformers.transformer_flux", usual)})

    def layers(self, network: Any) -> list[Layer]:
        """Return the attentions of double and single blocks."""
        double, single = DoubleAttention(), SingleAttention()
        blocks: list[tuple[str, Any, Joint]] = [
            (f"transformer_blocks.{i}.attn", x.attn, double)
            for i, x in enumerate(network.transformer_blocks)
        ] + [
            (f"single_transformer_blocks.{i}.attn", x.attn, single)
            for i, x in enumerate(network.single_transformer_blocks)
        ]
        return [
            Layer(f"{name}{end}", kind, "block", PACKED, number, attn, joint)
            for number, (name, attn, joint) in enumerate(blocks)
            for kind, end in TWICE
        ]

    def texts(self, pipeline: Any) -> tuple[TokenRange, ...]:
        """Return the range of T5; CLIP gives the pooled text alone."""
        return (TokenRange(pipeline.tokenizer_2, 0, LONG),)

    def condition(
        self, pipeline: Any, prompts: Sequence[str], size: tuple[int, int]
    ) -> Conditioning:
        """Return the words of T5 and the pooled text of CLIP, one prompt at a time."""
        different, which = each_once(prompts)
        device = pipeline.transformer.device
        found = [
            pipeline.encode_prompt([p], None, device=device, max_sequence_length=LONG)
            for p in different
        ]
        words, pooled = (torch.cat([encoded[k] for encoded in found])[which] for k in (0, 1))
        return Conditioning(words, {"pooled_projections": pooled})

    def predict(self, network: Any, x: Tensor, t: Any, words: Conditioning, told: Told) -> Tensor:
        """Return the velocity; latents are packed on the way in and unpacked on the way out."""
        height, width = x.shape[-2] // PACKED, x.shape[-1] // PACKED
        rows = torch.arange(height, device=x.device).repeat_interleave(width)
        columns = torch.arange(width, device=x.device).repeat(height)
        found: Tensor = network(
            hidden_states=packed(x),
            timestep=expanded(t, x).to(x.dtype) / 1000,
            encoder_hidden_states=words.embeddings,
            **words.added,
            **told,
            txt_ids=x.new_zeros(words.embeddings.shape[1], 3),
            img_ids=torch.stack([torch.zeros_like(rows), rows, columns], 1).to(x.dtype),
            return_dict=False,
        )[0]
        return unpacked(found, height, width)

    def told(self, pipeline: Any, scales: Sequence[float]) -> Told:
        """Return the guidance itself, (B,), for models with an embedding of it."""
        if not pipeline.transformer.config.guidance_embeds:
            return {}
        return {"guidance": torch.tensor(scales, device=pipeline.transformer.device)}

    def channels(self, network: Any) -> int:
        """Return the channels of a latent before it is packed."""
        return int(network.config.in_channels) // PACKED**2

    def patch(self, network: Any) -> int:
        """Return what packing asks of both sides."""
        return PACKED

    def native(self, network: Any) -> int:
        """Return the pipeline's own default."""
        return 128

    def defaults(self, pipeline: Any) -> tuple[int, float]:
        """Return 28 steps and the guidance that is told; 4 without one for the model without it."""
        return (28, 3.5) if pipeline.transformer.config.guidance_embeds else (4, 0.0)

    def set_steps(self, network: Any, scheduler: Any, count: int, latent: tuple[int, int]) -> None:
        """Set the timesteps of even levels, shifted by the number of image tokens."""
        tokens = (latent[0] // PACKED) * (latent[1] // PACKED)
        sigmas = np.linspace(1.0, 1 / count, count)
        scheduler.set_timesteps(sigmas=sigmas, mu=shift(scheduler.config, tokens, 1.15))

    def check(self, pipeline: Any, name: str) -> None:
        """Raise KdstError for transformers that take images besides, or pack otherwise."""
        network = pipeline.transformer
        check_channels(pipeline, network, self.channels(network), name)
        if network.out_channels != network.config.in_channels or network.config.patch_size != 1:
            raise KdstError(
                f"model {name} gives {network.out_channels} channels for {network.config.in_channels}"
                " (one that takes images besides?); the plain FLUX.1 can be edited"
            )
        if getattr(network, "encoder_hid_proj", None) is not None:
            raise KdstError(f"model {name} has an image adapter, which edits do not use; unload it")


def packed(x: Tensor) -> Tensor:
    """Return latents (B, C, h, w) as tokens (B, h/2 · w/2, 4 C)."""
    rows, channels, height, width = x.shape
    cells = x.reshape(rows, channels, height // PACKED, PACKED, width // PACKED, PACKED)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(rows, -1, channels * PACKED**2)


def unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """Return tokens (B, h · w, 4 C) of a grid as latents (B, C, 2 h, 2 w)."""
    cells = tokens.unflatten(1, (height, width)).unflatten(-1, (-1, PACKED, PACKED))
    return cells.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
