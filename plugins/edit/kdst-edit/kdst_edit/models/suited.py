"""Whether a pipeline that is loaded can be edited: what its network takes, and how it is run."""

from typing import Any

from kdst_core.errors import KdstError
from kdst_edit.families.family import Family
from kdst_edit.families.registry import SUPPORTED, family_of, named, network_of
from kdst_edit.models.weights import PARTS


def check_parts(pipeline: Any, name: str) -> None:
    """Raise KdstError for a network that expects more than the noisy latents, a text and the guidance.

    Inpainting and instruct-pix2pix models take images, adapters and other pipelines more than that.
    """
    network, vae = network_of(pipeline), pipeline.vae
    family = _check_kind(network, name)
    if {vae.config.in_channels, vae.config.out_channels} != {3}:
        raise KdstError(
            f"model {name} does not draw RGB images: its autoencoder takes {vae.config.in_channels}"
            f" channels and gives {vae.config.out_channels}. {SUPPORTED}"
        )
    family.check(pipeline, name)


def _check_kind(network: Any, name: str) -> Family:
    """Return the family; KdstError for another class of network, or a compiled one."""
    kind = getattr(network, "_orig_mod", network)
    if hasattr(network, "_orig_mod") or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in network.modules()
    ):
        family = named(type(kind).__name__)
        part = "unet" if family is None else family.part
        what = "UNet" if part == "unet" else part
        raise KdstError(
            f"the {what} of {name} is compiled by torch.compile, where control cannot take hold; give"
            f" the pipeline as it was before (pipeline.{part}._orig_mod is the {what})"
        )
    found = named(type(network).__name__)
    if found is None:
        raise KdstError(
            f"model {name} has a {type(network).__name__}, whose attention cannot be controlled here;"
            f" {SUPPORTED}"
        )
    return found


def check_live(pipeline: Any) -> None:
    """Raise KdstError for a pipeline from Python that lacks a part or that hooks cannot act on."""
    network = "transformer" if hasattr(pipeline, "transformer") else "unet"
    parts = [network, "vae", "text_encoder", "tokenizer", "scheduler"]
    parts += [p for p in ("text_encoder_2", "tokenizer_2") if hasattr(pipeline, p)]
    missing = [part for part in parts if getattr(pipeline, part, None) is None]
    name = type(pipeline).__name__
    if missing:
        raise KdstError(f"model must be a diffusers text-to-image pipeline; it has no {missing[0]}")
    if not hasattr(pipeline, "encode_prompt"):
        raise KdstError(
            f"a {name} cannot be edited with; give the text-to-image pipeline of the same parts, as"
            " a StableDiffusionPipeline or a StableDiffusion3Pipeline"
        )
    if any(getattr(getattr(pipeline, part, None), "_hf_hook", None) for part in PARTS):
        raise KdstError(
            f"the {name} is offloaded, which moves its parts while they run; give it as it was before"
            " offloading. Half precision, fewer rows a call and attention slicing need less memory, too"
        )
    check_parts(pipeline, name)
    _check_untouched(pipeline, name)


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
    family, network = family_of(pipeline), network_of(pipeline)
    known = family.processors
    kinds = (type(processor) for processor in network.attn_processors.values())
    foreign = next((k.__name__ for k in kinds if (k.__module__, k.__name__) not in known), None)
    if foreign is not None:
        raise KdstError(
            f"the {name} has attention of its own ({foreign}), which control would replace; put"
            f" diffusers' own back first: pipeline.{family.part}.set_attn_processor({family.usual}())"
        )
