"""Whether a pipeline that is loaded can be edited: what its UNet takes, and how it is run."""

from typing import Any

from kdst_core.errors import KdstError
from kdst_edit.models.weights import PARTS

SUPPORTED = "Stable Diffusion 1.x, 2.x and XL can be edited"
UNET = "UNet2DConditionModel"
ATTENTION = frozenset(
    ("diffusers.models.attention_processor", name)
    for name in (
        "AttnProcessor",
        "AttnProcessor2_0",
        "FusedAttnProcessor2_0",
        "SlicedAttnProcessor",
        "XFormersAttnProcessor",
    )
)
"""Processors that compute attention as control does, each in its own way."""


def check_parts(pipeline: Any, name: str) -> None:
    """Raise KdstError for a UNet that expects more than the noisy latents, a text and the guidance.

    Inpainting and instruct-pix2pix models take images, adapters and other pipelines more than that.
    """
    unet, vae = pipeline.unet, pipeline.vae
    _check_kind(unet, name)
    if {vae.config.in_channels, vae.config.out_channels} != {3}:
        raise KdstError(
            f"model {name} does not draw RGB images: its autoencoder takes {vae.config.in_channels}"
            f" channels and gives {vae.config.out_channels}. {SUPPORTED}"
        )
    given, wanted = vae.config.latent_channels, unet.config.in_channels
    if given != wanted:
        raise KdstError(
            f"model {name} is not a plain text-to-image model: its UNet takes {wanted} channels,"
            f" its autoencoder gives {given} (an inpainting or depth model?)"
        )
    if unet.config.out_channels != wanted:
        raise KdstError(
            f"model {name} predicts {unet.config.out_channels} channels for {wanted}: its UNet learned"
            f" the variance too, which DDIM does not use. {SUPPORTED}"
        )
    double = getattr(pipeline, "text_encoder_2", None) is not None
    added = unet.config.addition_embed_type
    if added != ("text_time" if double else None):
        raise KdstError(
            f"model {name} does not fit its text encoders: its UNet takes {added or 'nothing'} beside"
            f" the text. {SUPPORTED}, with all of their text encoders"
        )


def _check_kind(unet: Any, name: str) -> None:
    """Raise KdstError for another class of network, a compiled one, or one with other conditions."""
    if hasattr(unet, "_orig_mod") or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in unet.modules()
    ):
        raise KdstError(
            f"the UNet of {name} is compiled by torch.compile, where control cannot take hold; give the"
            " pipeline as it was before (pipeline.unet._orig_mod is the UNet)"
        )
    if type(unet).__name__ != UNET:
        raise KdstError(f"model {name} has a {type(unet).__name__}, not a {UNET}; {SUPPORTED}")
    more = [key for key in ("class_embed_type", "encoder_hid_dim_type") if unet.config.get(key)]
    more += ["num_class_embeds"] if unet.config.get("num_class_embeds") else []
    if more:
        raise KdstError(
            f"model {name} takes more than a text ({more[0]}: {unet.config[more[0]]}), which edits"
            f" do not give it. {SUPPORTED}; unload an image adapter first"
        )


def check_live(pipeline: Any) -> None:
    """Raise KdstError for a pipeline from Python that lacks a part or that hooks cannot act on."""
    parts = ["unet", "vae", "text_encoder", "tokenizer", "scheduler"]
    parts += [p for p in ("text_encoder_2", "tokenizer_2") if hasattr(pipeline, p)]
    missing = [part for part in parts if getattr(pipeline, part, None) is None]
    name = type(pipeline).__name__
    if missing:
        raise KdstError(f"model must be a diffusers text-to-image pipeline; it has no {missing[0]}")
    if not hasattr(pipeline, "encode_prompt"):
        raise KdstError(
            f"a {name} cannot be edited with; give a StableDiffusionPipeline or a"
            " StableDiffusionXLPipeline of the same parts"
        )
    if any(getattr(getattr(pipeline, part, None), "_hf_hook", None) for part in PARTS):
        raise KdstError(
            f"the {name} is offloaded, which moves its parts while they run; give it as it was before"
            " offloading. Half precision, fewer rows a call and attention slicing need less memory, too"
        )
    _check_untouched(pipeline, name)
    check_parts(pipeline, name)


def _check_untouched(pipeline: Any, name: str) -> None:
    """Raise KdstError for parts that another library changed in ways that casts or control would undo."""
    for part in PARTS:
        network = getattr(pipeline, part, None)
        modules = () if network is None else network.named_modules()
        patched = next((n for n, module in modules if "forward" in vars(module)), None)
        if patched is not None:
            raise KdstError(
                f"the {name} has another forward in its {part} ({patched or 'itself'}), as caching,"
                " layerwise casting and group offloading put there; give it without"
            )
    kinds = (type(processor) for processor in pipeline.unet.attn_processors.values())
    foreign = next((k.__name__ for k in kinds if (k.__module__, k.__name__) not in ATTENTION), None)
    if foreign is not None:
        raise KdstError(
            f"the {name} has attention of its own ({foreign}), which control would replace; put"
            " diffusers' own back first: pipeline.unet.set_attn_processor(AttnProcessor2_0())"
        )
