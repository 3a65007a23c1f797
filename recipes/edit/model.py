"""Build the stock `StableDiffusionPipeline`, untrained, from its five parts."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from kdst_edit.shapes.scene import VOCABULARY
from recipes.edit.autoencoder import identity_autoencoder

MAX_TOKENS = 16
TEXT_WIDTH = 64
CHANNELS = (16, 48, 96)
HEADS = (1, 2, 4)


def build_tokenizer(
    tokens: tuple[str, ...] = ("<pad>", "<start>", "<end>", "<unk>", *VOCABULARY),
) -> PreTrainedTokenizerFast:
    """One token a word, padded with `<pad>` to 16 tokens; unknown words become `<unk>`."""
    ids = {token: i for i, token in enumerate(tokens)}
    words = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    words.normalizer = Lowercase()
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[(token, ids[token]) for token in ("<start>", "<end>")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        model_max_length=MAX_TOKENS,
        pad_token="<pad>",
        bos_token="<start>",
        eos_token="<end>",
        unk_token="<unk>",
    )


def build_text_encoder(vocabulary_size: int) -> CLIPTextModel:
    """Two transformer layers; words start large enough not to drown in the layers' outputs."""
    config = CLIPTextConfig(
        vocab_size=vocabulary_size,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    encoder = CLIPTextModel(config)
    nn.init.normal_(encoder.embeddings.token_embedding.weight, std=0.5)
    nn.init.normal_(encoder.embeddings.position_embedding.weight, std=0.2)
    return encoder


def build_unet() -> UNet2DConditionModel:
    """Three levels, 32² to 8²; words enter by cross-attention at 16² and at 8²."""
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=CHANNELS,
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=HEADS,
        norm_num_groups=8,
    )


def build_scheduler() -> DDIMScheduler:
    """The linear schedule: it spends 40 % of its levels where a large silhouette is decided."""
    return DDIMScheduler(
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def build_pipeline(seed: int) -> StableDiffusionPipeline:
    """An untrained pipeline whose weights depend on `seed` alone."""
    tokenizer = build_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = build_text_encoder(len(tokenizer))
        unet = build_unet()
        vae = identity_autoencoder()
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def token_ids(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Tensor:
    """Token ids (B, 16) of `texts`."""
    encoded = tokenizer(
        texts,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    ids: Tensor = encoded.input_ids
    return ids
