"""Narrow pipelines of the three models, with random weights."""

# mypy: disable-error-code="attr-defined, no-untyped-call"
# diffusers and transformers set these attributes at run time or leave them untyped

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kdst_core.bench.libraries import silence_libraries
from kdst_edit.models.layouts import build, letter_tokenizer
from kdst_instruct.processor import Processor

WIDTH = 32
SPECIAL = (
    *("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)


def pix2pix() -> Any:
    """A pipeline of InstructPix2Pix: Stable Diffusion's, whose UNet sees the source beside the noise."""
    from diffusers import StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel

    small = build("sd15", width=WIDTH, latent_size=4)
    config = dict(small.unet.config) | {"in_channels": 8, "layers_per_block": 1}
    return StableDiffusionInstructPix2PixPipeline(
        vae=small.vae,
        text_encoder=small.text_encoder,
        tokenizer=small.tokenizer,
        unet=UNet2DConditionModel.from_config(config),
        scheduler=small.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def kontext() -> Any:
    """A pipeline of FLUX.1 Kontext: one double and one single block."""
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        FluxKontextPipeline,
        FluxTransformer2DModel,
    )
    from transformers import T5Config, T5EncoderModel

    clip, tokenizer = build("sd15", width=WIDTH, latent_size=4).text_encoder, letter_tokenizer()
    text = T5Config(
        vocab_size=len(tokenizer), d_model=WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )
    autoencoder = AutoencoderKL(
        block_out_channels=(8,),
        latent_channels=4,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.05,
        scaling_factor=1.5,
    )
    return FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=autoencoder,
        text_encoder=clip,
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(text),
        tokenizer_2=letter_tokenizer(),
        transformer=transformer,
    )


def qwen() -> Any:
    """A pipeline of Qwen-Image-Edit: one layer of sight, of language and of the transformer."""
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImageEditPipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import Qwen2VLImageProcessorPil

    tokenizer = qwen_tokenizer()
    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=1,
        joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
    )
    autoencoder = AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    return QwenImageEditPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=autoencoder,
        text_encoder=_reader(tokenizer),
        tokenizer=tokenizer,
        processor=Processor(Qwen2VLImageProcessorPil(max_pixels=56**2), tokenizer),
        transformer=transformer,
    )


def qwen_tokenizer() -> Any:
    """Qwen's tokenizer with no merges: every letter is a token."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    tokens = ["<|endoftext|>", *SPECIAL, *sorted(ByteLevel.alphabet())]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return Qwen2Tokenizer(vocab=vocabulary, merges=[], extra_special_tokens=list(SPECIAL))


def _reader(tokenizer: Any) -> Any:
    """A narrow Qwen2.5-VL."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    narrow = {"hidden_size": 16, "intermediate_size": 16}
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    config = Qwen2_5_VLConfig(
        text_config=narrow
        | {
            "vocab_size": len(tokenizer),
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [1, 1, 2],
            },
        },
        vision_config=narrow
        | {"depth": 1, "num_heads": 2, "out_hidden_size": 16, "fullatt_block_indexes": [0]},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()


def _save_parts(pipeline: Any, folder: Path) -> None:
    """Save a pipeline of Qwen part by part, in the layout that `save_pretrained` gives it."""
    for name in ("scheduler", "vae", "text_encoder", "tokenizer", "transformer"):
        getattr(pipeline, name).save_pretrained(folder / name)
    pipeline.processor.pictures.save_pretrained(folder / "processor")
    classes = {
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "vae": ["diffusers", "AutoencoderKLQwenImage"],
        "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "processor": ["transformers", "Qwen2VLProcessor"],
        "transformer": ["diffusers", "QwenImageTransformer2DModel"],
    }
    index = {"_class_name": "QwenImageEditPipeline"} | classes
    (folder / "model_index.json").write_text(json.dumps(index))


def saved(kind: str, folder: Path) -> Path:
    """Save a small pipeline whose weights are always the same."""
    with silence_libraries("diffusers"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        if kind == "qwen-image-edit":
            _save_parts(qwen(), folder)
        else:
            {"instruct-pix2pix": pix2pix, "flux-kontext": kontext}[kind]().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A directory of small weights for each method."""
    folder = tmp_path_factory.mktemp("weights")
    names = ("instruct-pix2pix", "flux-kontext", "qwen-image-edit")
    return {name: saved(name, folder / name) for name in names}
