"""The UNets of Stable Diffusion 1.x, 2.x and XL: self- and cross-attention apart, in levels."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit.families.conditioning import Conditioning, TokenRange
from kdst_edit.families.family import Family, Told
from kdst_edit.families.layer import Kind, Layer, Place

SUPPORTED = "Of UNets, those of Stable Diffusion 1.x, 2.x and XL can be edited"
OLDER = "diffusers.models.attention_processor"
PROCESSORS = frozenset(
    (OLDER, name)
    for name in (
        "AttnProcessor",
        "AttnProcessor2_0",
        "FusedAttnProcessor2_0",
        "SlicedAttnProcessor",
        "XFormersAttnProcessor",
    )
)
"""Processors that compute attention as control does, each in its own way."""


class UNet(Family):
    """`UNet2DConditionModel`."""

    network = "UNet2DConditionModel"
    part: ClassVar[Literal["unet", "transformer"]] = "unet"
    pipelines = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
    flow = False
    processors = PROCESSORS
    usual = "AttnProcessor2_0"

    def layers(self, network: Any) -> list[Layer]:
        """Return every attention and residual block.

        Resolutions follow from the UNet's own down- and upsamplers, so they hold for any configuration.
        """
        found: list[Layer] = []
        factor = 1
        for number, block in enumerate(network.down_blocks):
            found += _of_block(block, f"down_blocks.{number}", "down", factor)
            factor *= 2 if getattr(block, "downsamplers", None) else 1
        if getattr(network, "mid_block", None) is not None:
            found += _of_block(network.mid_block, "mid_block", "mid", factor)
        for number, block in enumerate(network.up_blocks):
            found += _of_block(block, f"up_blocks.{number}", "up", factor)
            factor //= 2 if getattr(block, "upsamplers", None) else 1
        return found

    def texts(self, pipeline: Any) -> tuple[TokenRange, ...]:
        """Return the one range; both of SDXL's tokenizers count alike."""
        tokenizer = pipeline.tokenizer
        return (TokenRange(tokenizer, 0, tokenizer.model_max_length),)

    def condition(
        self, pipeline: Any, prompts: Sequence[str], size: tuple[int, int]
    ) -> Conditioning:
        """Return the pipeline's own encoding, with SDXL's pooled text and sizes where it has them."""
        device, prompts = pipeline.unet.device, list(prompts)
        if second_encoder(pipeline) is not None:
            # one by one, as the pipeline encodes them: rows of a batch differ in the last bits
            found = [
                pipeline.encode_prompt([prompt], device=device, do_classifier_free_guidance=False)
                for prompt in prompts
            ]
            words, pooled = (torch.cat([encoded[k] for encoded in found]) for k in (0, 2))
            times = torch.tensor([[*size, 0, 0, *size]], dtype=words.dtype, device=device)
            added = {"text_embeds": pooled, "time_ids": times.expand(len(prompts), -1)}
            return Conditioning(words, added)
        words, _ = pipeline.encode_prompt(prompts, device, 1, False)
        return Conditioning(words)

    def predict(self, network: Any, x: Tensor, t: Any, words: Conditioning, told: Told) -> Tensor:
        """Return the UNet's output."""
        found: Tensor = network(x, t, **words.kwargs(), **told, return_dict=False)[0]
        return found

    def told(self, pipeline: Any, scales: Sequence[float]) -> Told:
        """Return the embedding of the guidance that latent consistency models take, (B, D).

        Luo et al., Latent Consistency Models (2023): of the scale less 1, as of a timestep.
        """
        width = pipeline.unet.config.get("time_cond_proj_dim")
        if width is None:
            return {}
        scale = torch.tensor(scales, dtype=torch.float32) - 1
        found: Tensor = pipeline.get_guidance_scale_embedding(scale, embedding_dim=width)
        return {"timestep_cond": found.to(pipeline.unet.device)}

    def patch(self, network: Any) -> int:
        """Return what both sides must be divisible by, so that every level halves exactly."""
        return int(2 ** (len(network.config.block_out_channels) - 1))

    def statistics(self, pipeline: Any) -> tuple[Any, Any]:
        """Return SDXL's own statistics where both are there; Stable Diffusion 1 and 2 read none.

        Neither reads a `shift_factor`.
        """
        config = pipeline.vae.config
        both = config.get("latents_mean"), config.get("latents_std")
        if second_encoder(pipeline) is None or any(x is None for x in both):
            return [0.0], [1.0]
        return both

    def defaults(self, pipeline: Any) -> tuple[int, float]:
        """Return the published steps and guidance."""
        return 50, 7.5

    def check(self, pipeline: Any, name: str) -> None:
        """Raise KdstError for inpainting, depth, adapters, learned variances and missing encoders."""
        unet = pipeline.unet
        more = [key for key in ("class_embed_type", "encoder_hid_dim_type") if unet.config.get(key)]
        more += ["num_class_embeds"] if unet.config.get("num_class_embeds") else []
        if more:
            raise KdstError(
                f"model {name} takes more than a text ({more[0]}: {unet.config[more[0]]}), which edits"
                f" do not give it. {SUPPORTED}; unload an image adapter first"
            )
        _check_channels(pipeline, name)
        double = second_encoder(pipeline) is not None
        added = unet.config.addition_embed_type
        if added != ("text_time" if double else None):
            raise KdstError(
                f"model {name} does not fit its text encoders: its UNet takes {added or 'nothing'} beside"
                f" the text. {SUPPORTED}, with all of their text encoders"
            )


def _check_channels(pipeline: Any, name: str) -> None:
    """Raise KdstError for a UNet that takes or predicts more than the latents."""
    given, config = pipeline.vae.config.latent_channels, pipeline.unet.config
    if given != config.in_channels:
        raise KdstError(
            f"model {name} is not a plain text-to-image model: its UNet takes {config.in_channels}"
            f" channels, its autoencoder gives {given} (an inpainting or depth model?)"
        )
    if config.out_channels != given:
        raise KdstError(
            f"model {name} predicts {config.out_channels} channels for {given}: its UNet learned"
            f" the variance too, which DDIM does not use. {SUPPORTED}"
        )


def _of_block(block: Any, name: str, place: Place, factor: int) -> Iterator[Layer]:
    """The layers of one block of the UNet."""
    from diffusers.models.attention_processor import Attention

    for number, resnet in enumerate(getattr(block, "resnets", ())):
        yield Layer(f"{name}.resnets.{number}", "feature", place, factor, number, resnet)
    for number, attention in enumerate(getattr(block, "attentions", None) or ()):
        for path, module in attention.named_modules():
            if isinstance(module, Attention):
                kind: Kind = "cross" if module.is_cross_attention else "self"
                full = f"{name}.attentions.{number}.{path}".rstrip(".")
                yield Layer(full, kind, place, factor, number, module)


def second_encoder(pipeline: Any) -> Any:
    """SDXL's second text encoder, or None."""
    return getattr(pipeline, "text_encoder_2", None)
