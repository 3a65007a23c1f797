"""Pipelines in the layouts of Stable Diffusion 3, FLUX.1 and PixArt, narrow and with random weights.

They have the published kinds of blocks, schedulers, text encoders and autoencoders in small, so that code
that depends on a layout can be tested and timed without the real weights.
"""

# mypy: disable-error-code="attr-defined, no-untyped-call"
# diffusers and transformers set these attributes at run time or leave them untyped

from typing import Any, Literal, get_args

import torch

from kdst_core.bench.libraries import silence_libraries
from kdst_edit.models.layouts import autoencoder, clip, letter_tokenizer

Layout = Literal["sd3", "sd35", "flux-dev", "flux-schnell", "pixart"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
HEAD = 16
"""Channels of a head: FLUX.1's rotary embedding divides them in three even parts."""


def build(
    layout: Layout, *, heads: int = 2, depth: int = 2, latent_size: int = 8, seed: int = 0
) -> Any:
    """A pipeline of `layout` with a network of so many heads of 16 channels and so many blocks.

    FLUX.1 has so many double and so many single blocks. latent_size: the side of the latents it is made
    for; an image is 8 times as wide. `sd35` normalises queries and keys, and its first block attends
    twice. Weights depend on `seed` alone.
    """
    made = {"sd3": _sd3, "sd35": _sd3, "flux-dev": _flux, "flux-schnell": _flux, "pixart": _pixart}
    with silence_libraries("diffusers"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = made[layout](layout, heads, depth, latent_size)
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval().requires_grad_(False)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def _sd3(layout: str, heads: int, depth: int, latent_size: int) -> Any:
    """Stable Diffusion 3, or 3.5."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )

    width, newer = heads * HEAD, layout == "sd35"
    clips = [clip(514, 32, True, projection=True) for _ in range(2)]
    transformer = SD3Transformer2DModel(
        sample_size=latent_size,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=depth,
        attention_head_dim=HEAD,
        num_attention_heads=heads,
        joint_attention_dim=64,
        caption_projection_dim=width,
        pooled_projection_dim=64,
        pos_embed_max_size=2 * latent_size,
        dual_attention_layers=(0,) if newer else (),
        qk_norm="rms_norm" if newer else None,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_shifted(latent_size),
        text_encoder=clips[0],
        tokenizer=letter_tokenizer(),
        text_encoder_2=clips[1],
        tokenizer_2=letter_tokenizer(),
        text_encoder_3=_t5(64),
        tokenizer_3=piece_tokenizer(),
    )


def _flux(layout: str, heads: int, depth: int, latent_size: int) -> Any:
    """FLUX.1: dev is told the guidance."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    dev = layout == "flux-dev"
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=depth,
        num_single_layers=depth,
        attention_head_dim=HEAD,
        num_attention_heads=heads,
        joint_attention_dim=64,
        pooled_projection_dim=32,
        guidance_embeds=dev,
        axes_dims_rope=(4, 6, 6),
    )
    shifted = {"shift": 3.0, "use_dynamic_shifting": True} if dev else {"shift": 1.0}
    return FluxPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(**shifted),
        vae=_shifted(latent_size),
        text_encoder=clip(514, 32, False),
        tokenizer=letter_tokenizer(),
        text_encoder_2=_t5(64),
        tokenizer_2=piece_tokenizer(),
    )


def _pixart(layout: str, heads: int, depth: int, latent_size: int) -> Any:
    """PixArt-Σ."""
    from diffusers import (
        DPMSolverMultistepScheduler,
        PixArtSigmaPipeline,
        PixArtTransformer2DModel,
    )

    transformer = PixArtTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=HEAD,
        in_channels=4,
        out_channels=8,
        num_layers=depth,
        cross_attention_dim=heads * HEAD,
        sample_size=latent_size,
        patch_size=2,
        caption_channels=64,
        use_additional_conditions=False,
    )
    return PixArtSigmaPipeline(
        tokenizer=piece_tokenizer(),
        text_encoder=_t5(64),
        vae=autoencoder(latent_size),
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(beta_schedule="linear"),
    )


def _shifted(latent_size: int) -> Any:
    """An autoencoder whose latents are shifted and scaled."""
    return autoencoder(
        latent_size,
        shift_factor=0.0609,
        scaling_factor=1.5305,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _t5(width: int) -> Any:
    """T5's encoder with one layer."""
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=len(piece_tokenizer()),
            d_model=width,
            d_kv=16,
            d_ff=2 * width,
            num_layers=1,
            num_heads=2,
        )
    )


def piece_tokenizer() -> Any:
    """A tokenizer as T5's, without a begin token, that splits words into letters."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<unk>"]
    letters = [chr(i) for i in range(33, 127)]
    made = Tokenizer(
        models.WordLevel({x: i for i, x in enumerate((*special, *letters))}, unk_token="<unk>")
    )
    split = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("."), "isolated")]
    made.pre_tokenizer = pre_tokenizers.Sequence(split)
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=512,
    )
