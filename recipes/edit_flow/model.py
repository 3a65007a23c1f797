"""Build the stock `StableDiffusion3Pipeline`, untrained: an MM-DiT and its text encoders."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from kdst_edit.shapes.scene import VOCABULARY
from recipes.edit.autoencoder import identity_autoencoder
from recipes.edit.model import MAX_TOKENS, build_tokenizer

TOKENS = ("<pad>", "<start>", "<unk>", *VOCABULARY, "<end>")
"""`<end>` comes last: CLIP pools at it, and only then does it see the whole caption."""

TEXT_WIDTHS = (64, 32)
TEXT_LAYERS = (2, 1)


@dataclass(frozen=True)
class Size:
    """The transformer's size: pixels along a patch, width, attention heads and joint blocks."""

    patch: int = 4
    width: int = 128
    heads: int = 4
    blocks: int = 4


def build_text_encoder(width: int, layers: int) -> CLIPTextModelWithProjection:
    """Words start large enough not to drown in the layers' outputs."""
    config = CLIPTextConfig(
        vocab_size=len(TOKENS),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 16,
        max_position_embeddings=MAX_TOKENS,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=len(TOKENS) - 1,
    )
    encoder = CLIPTextModelWithProjection(config)
    embeddings = encoder.text_model.embeddings
    nn.init.normal_(embeddings.token_embedding.weight, std=0.5)
    nn.init.normal_(embeddings.position_embedding.weight, std=0.2)
    nn.init.normal_(encoder.text_projection.weight, std=width**-0.5)
    return encoder


@torch.no_grad()
def silent_t5() -> T5EncoderModel:
    """A T5 that answers every token with zeros, as the pipeline does for an absent one.

    Without any, `from_pretrained` would ask for one to be named.
    """
    config = T5Config(
        vocab_size=len(TOKENS),
        d_model=sum(TEXT_WIDTHS),
        d_kv=8,
        d_ff=8,
        num_layers=1,
        num_heads=1,
        pad_token_id=0,
        eos_token_id=len(TOKENS) - 1,
    )
    encoder = T5EncoderModel(config)
    encoder.encoder.final_layer_norm.weight.zero_()
    return encoder


def build_transformer(size: Size) -> SD3Transformer2DModel:
    """Joint blocks that begin as the identity, over 32×32 pixels in patches.

    Peebles and Xie, Scalable Diffusion Models with Transformers (2023), section 3.2: adaLN-Zero.
    """
    transformer = SD3Transformer2DModel(
        sample_size=32,
        patch_size=size.patch,
        in_channels=3,
        out_channels=3,
        num_layers=size.blocks,
        attention_head_dim=size.width // size.heads,
        num_attention_heads=size.heads,
        joint_attention_dim=sum(TEXT_WIDTHS),
        caption_projection_dim=size.width,
        pooled_projection_dim=sum(TEXT_WIDTHS),
        pos_embed_max_size=32 // size.patch,
        qk_norm="rms_norm",
    )
    zeroed = [transformer.norm_out.linear, transformer.proj_out]
    for block in transformer.transformer_blocks:
        zeroed += [block.norm1.linear, block.norm1_context.linear]
    for linear in zeroed:
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    return transformer


def build_autoencoder() -> AutoencoderKL:
    """The identity, with the shift that the pipeline adds to decoded latents."""
    autoencoder = identity_autoencoder()
    autoencoder.register_to_config(shift_factor=0.0)
    return autoencoder


def build_pipeline(seed: int, size: Size | None = None) -> StableDiffusion3Pipeline:
    """An untrained pipeline whose weights depend on `seed` and `size` alone."""
    tokenizer = build_tokenizer(TOKENS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoders = [
            build_text_encoder(width, layers)
            for width, layers in zip(TEXT_WIDTHS, TEXT_LAYERS, strict=True)
        ]
        transformer = build_transformer(size or Size())
        silent = silent_t5()
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=build_autoencoder(),
        text_encoder=encoders[0],
        tokenizer=tokenizer,
        text_encoder_2=encoders[1],
        tokenizer_2=tokenizer,
        text_encoder_3=silent,
        tokenizer_3=tokenizer,
    )


def encode(
    encoders: tuple[CLIPTextModelWithProjection, CLIPTextModelWithProjection], tokens: Tensor
) -> tuple[Tensor, Tensor]:
    """Words (B, 16, 96) and pooled captions (B, 96) of `tokens` (B, 16), as the pipeline's."""
    read = [encoder(tokens, output_hidden_states=True) for encoder in encoders]
    words = torch.cat([output.hidden_states[-2] for output in read], -1)
    return words, torch.cat([output.text_embeds for output in read], -1)
