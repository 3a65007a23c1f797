"""Stable Diffusion 3 and 3.5: blocks in which image and text attend to each other at once.

Esser et al., Scaling Rectified Flow Transformers for High-Resolution Image Synthesis (2024).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit.families.conditioning import Conditioning, TokenRange
from kdst_edit.families.family import Family, Told, check_channels, each_once, expanded
from kdst_edit.families.layer import TWICE, Joint, Layer, Parts

LONG = 256
"""Tokens of T5 in the pipeline's text."""


class JointAttention(Joint):
    """Image and text are projected apart and attend together, the image first."""

    def parts(
        self, attn: Any, image: Tensor, words: Tensor | None, rotary: Any, pixels: int
    ) -> Parts:
        """Project both."""
        assert words is not None
        mine = attn.to_q(image), attn.to_k(image), attn.to_v(image)
        texts = attn.add_q_proj(words), attn.add_k_proj(words), attn.add_v_proj(words)
        norms = (attn.norm_q, attn.norm_added_q), (attn.norm_k, attn.norm_added_k), (None, None)
        query, key, value = (
            torch.cat([_heads(attn, a, norm[0]), _heads(attn, b, norm[1])], 2)
            for a, b, norm in zip(mine, texts, norms, strict=True)
        )
        return Parts(query, key, value, slice(0, pixels), slice(pixels, None))

    def outputs(self, attn: Any, attended: Tensor, parts: Parts) -> tuple[Tensor, Tensor]:
        """Split, and project each."""
        flat = attended.transpose(1, 2).flatten(2)
        image, text = flat[:, parts.image], flat[:, parts.text]
        if not attn.context_pre_only:
            text = attn.to_add_out(text)
        return attn.to_out[1](attn.to_out[0](image)), text


def _heads(attn: Any, projected: Tensor, norm: Any) -> Tensor:
    """A projection (rows, N, H · d) as (rows, H, N, d), normalised."""
    split = projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
    return split if norm is None else norm(split)


class StableDiffusion3(Family):
    """`SD3Transformer2DModel`; the second attention of some blocks of 3.5 is self-attention alone."""

    network = "SD3Transformer2DModel"
    pipelines = ("StableDiffusion3Pipeline",)
    encoders = 3
    usual = "JointAttnProcessor2_0"
    processors = frozenset({("diffusers.models.attention_processor", usual)})

    def layers(self, network: Any) -> list[Layer]:
        """Return the attentions of every block."""
        found: list[Layer] = []
        patch = self.patch(network)
        for number, block in enumerate(network.transformer_blocks):
            name, joint = f"transformer_blocks.{number}", JointAttention()
            found += [
                Layer(f"{name}.attn{end}", kind, "block", patch, number, block.attn, joint)
                for kind, end in TWICE
            ]
            if block.attn2 is not None:
                found.append(Layer(f"{name}.attn2", "self", "block", patch, number, block.attn2))
        return found

    def texts(self, pipeline: Any) -> tuple[TokenRange, ...]:
        """Return the range of both CLIP tokenizers, which count alike, and that of T5, or of its zeros."""
        most = pipeline.tokenizer.model_max_length
        third = None if pipeline.text_encoder_3 is None else pipeline.tokenizer_3
        return TokenRange(pipeline.tokenizer, 0, most), TokenRange(third, most, LONG)

    def condition(
        self, pipeline: Any, prompts: Sequence[str], size: tuple[int, int]
    ) -> Conditioning:
        """Return the words of CLIP and T5 and the pooled text of CLIP, one prompt at a time."""
        different, which = each_once(prompts)
        given = {"device": pipeline.transformer.device, "do_classifier_free_guidance": False}
        found = [
            pipeline.encode_prompt([p], None, None, max_sequence_length=LONG, **given)
            for p in different
        ]
        words, pooled = (torch.cat([encoded[k] for encoded in found])[which] for k in (0, 2))
        return Conditioning(words, {"pooled_projections": pooled})

    def predict(self, network: Any, x: Tensor, t: Any, words: Conditioning, told: Told) -> Tensor:
        """Return the velocity."""
        found: Tensor = network(
            hidden_states=x,
            timestep=expanded(t, x),
            encoder_hidden_states=words.embeddings,
            **words.added,
            return_dict=False,
        )[0]
        return found

    def set_steps(self, network: Any, scheduler: Any, count: int, latent: tuple[int, int]) -> None:
        """Set the timesteps; dynamic shifting goes by the number of image tokens."""
        if not scheduler.config.get("use_dynamic_shifting"):
            scheduler.set_timesteps(count)
            return
        patch = self.patch(network)
        tokens = (latent[0] // patch) * (latent[1] // patch)
        scheduler.set_timesteps(count, mu=shift(scheduler.config, tokens, 1.16))

    def check(self, pipeline: Any, name: str) -> None:
        """Raise KdstError for other latents than the autoencoder's."""
        network = pipeline.transformer
        check_channels(pipeline, network, network.config.in_channels, name)
        if getattr(network, "image_proj", None) is not None:
            raise KdstError(f"model {name} has an image adapter, which edits do not use; unload it")


def shift(config: Any, tokens: int, most: float) -> float:
    """Return μ of dynamic shifting: linear in the image tokens, as the pipelines compute it.

    most: the upper shift where the configuration has none.
    """
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base = config.get("base_shift", 0.5)
    slope = (config.get("max_shift", most) - base) / (high - low)
    return float(tokens * slope + (base - slope * low))
