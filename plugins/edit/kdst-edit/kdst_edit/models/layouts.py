"""Pipelines in the layouts of Stable Diffusion 1.5, 2.1 and XL, narrow and with random weights.

They have the published order of blocks, layers and attention, the published scheduler and prediction
type, and a tokenizer that splits words into letters, so code that depends on a layout can be tested
and timed without the real weights.
"""

# mypy: disable-error-code="attr-defined, no-untyped-call"
# diffusers and transformers set these attributes at run time or leave them untyped

from typing import Any, Literal, get_args

import torch
from attrs import frozen

from kdst_core.bench.libraries import silence_libraries

Layout = Literal["sd15", "sd21", "sdxl"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
WIDTHS = {"sd15": 320, "sd21": 320, "sdxl": 320}
"""The published channels of the first level."""

_WITH, _WITHOUT = "CrossAttn{}Block2D", "{}Block2D"


@frozen
class _Shape:
    """What tells one layout from another, in units of the first level's channels."""

    channels: tuple[int, ...]
    attention: tuple[bool, ...]
    heads: int | tuple[int, ...]
    depth: int | tuple[int, ...]
    linear: bool
    prediction: str
    scheduler: str


_SHAPES = {
    "sd15": _Shape((1, 2, 4, 4), (True, True, True, False), 8, 1, False, "epsilon", "PNDM"),
    "sd21": _Shape(
        (1, 2, 4, 4), (True, True, True, False), (1, 2, 4, 4), 1, True, "v_prediction", "DDIM"
    ),
    "sdxl": _Shape((1, 2, 4), (False, True, True), (1, 2, 4), (1, 2, 10), True, "epsilon", "Euler"),
}


def build(layout: Layout, *, width: int = 32, latent_size: int = 16, seed: int = 0) -> Any:
    """A pipeline of `layout` whose first level has `width` channels (published: 320).

    `width` must be a multiple of 32, for the group normalisation. latent_size: the side of the
    latents it is made for (published: 64, 96 or 128); an image is 8 times as wide. Weights depend
    on `seed` alone.
    """
    with silence_libraries("diffusers"), torch.random.fork_rng(devices=[]):
        from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

        torch.manual_seed(seed)
        tokenizer = letter_tokenizer()
        text = clip(len(tokenizer), width, layout == "sdxl")
        parts = {
            "vae": autoencoder(latent_size),
            "unet": _unet(_SHAPES[layout], width, latent_size),
            "scheduler": _scheduler(_SHAPES[layout]),
            "tokenizer": tokenizer,
            "text_encoder": text,
        }
        if layout == "sdxl":
            second = clip(len(tokenizer), width, True, projection=True)
            return StableDiffusionXLPipeline(
                **parts, text_encoder_2=second, tokenizer_2=tokenizer, add_watermarker=False
            )
        return StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )


def _unet(shape: _Shape, width: int, latent_size: int) -> Any:
    """The UNet: two layers a level down, three up."""
    from diffusers import UNet2DConditionModel

    names = [_WITH if a else _WITHOUT for a in shape.attention]
    double = shape.depth != 1
    extra: dict[str, Any] = {}
    if double:
        extra = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + width,
        }
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=4,
        out_channels=4,
        down_block_types=tuple(n.format("Down") for n in names),
        up_block_types=tuple(n.format("Up") for n in reversed(names)),
        block_out_channels=tuple(c * width for c in shape.channels),
        layers_per_block=2,
        cross_attention_dim=width * (2 if double else 1),
        attention_head_dim=shape.heads,
        transformer_layers_per_block=shape.depth,
        use_linear_projection=shape.linear,
        **extra,
    )


def _scheduler(shape: _Shape) -> Any:
    """The published scheduler of the layout."""
    from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler

    levels = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    common: dict[str, Any] = {
        **levels,
        "prediction_type": shape.prediction,
        "steps_offset": 1,
        "timestep_spacing": "leading",
    }
    if shape.scheduler == "Euler":
        return EulerDiscreteScheduler(**common)
    if shape.scheduler == "PNDM":
        return PNDMScheduler(**common, skip_prk_steps=True, set_alpha_to_one=False)
    return DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=False)


def autoencoder(latent_size: int, **config: Any) -> Any:
    """Stable Diffusion's autoencoder, 8 pixels a latent, at a tenth of its width."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 16, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=8 * latent_size,
        **config,
    )


def clip(words: int, width: int, deep: bool, projection: bool = False) -> Any:
    """A CLIP text encoder with 77 positions; with `projection` the one whose pooled text is used."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=3 if deep else 2,
        num_attention_heads=2,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def letter_tokenizer() -> Any:
    """CLIP's tokenizer with no merges: every letter of a word is a token, at most 77."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
