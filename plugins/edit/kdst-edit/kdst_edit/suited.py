"""Whether a pipeline that is loaded can be edited: what its UNet takes, and how it is run."""

from typing import Any

from kdst_core.errors import KdstError

SUPPORTED = "Stable Diffusion 1.x, 2.x and XL can be edited"
UNET = "UNet2DConditionModel"


def check_parts(pipeline: Any, name: str) -> None:
    """Raise KdstError for a UNet that expects more than the noisy latents, a text and the guidance.

    Inpainting and instruct-pix2pix models take images, adapters and other pipelines more than that.
    """
    unet, vae = pipeline.unet, pipeline.vae
    _check_kind(unet, name)
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
    if any(getattr(part, "_hf_hook", None) for part in (pipeline.unet, pipeline.vae)):
        raise KdstError(
            f"the {name} is offloaded, which moves its parts while they run; give it as it was before"
            " offloading"
        )
    check_parts(pipeline, name)
