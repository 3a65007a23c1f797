"""What an image and a prompt are to a pipeline: latents, text conditioning, levels of noise."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_edit.families.conditioning import Conditioning
from kdst_edit.families.registry import family_of, network_of

DISTILLED = frozenset({"LCMScheduler", "TCDScheduler"})
"""Schedulers whose models DDIM does not sample."""
SAME_LEVEL = 1e-5
"""Cumulative products that differ by less are one level; some schedulers keep 2**-24 where DDIM has 0."""


def condition(
    pipeline: Any,
    prompts: Sequence[str],
    size: tuple[int, int],
    *,
    negative: Collection[int] = (),
    gradients: bool = False,
) -> Conditioning:
    """Encode `prompts` for images of `size` (H, W) pixels, as the pipeline itself does.

    negative: which of them are negative prompts. Where these are empty, SDXL has zeros in their place
    if its configuration says so (`force_zeros_for_empty_prompt`).
    """
    with torch.set_grad_enabled(gradients):
        found = family_of(pipeline).condition(pipeline, list(prompts), size)
    none = [i for i in negative if not prompts[i].strip()]
    if (
        none
        and "text_embeds" in found.added
        and pipeline.config.get("force_zeros_for_empty_prompt", False)
    ):
        found.embeddings[none] = 0
        found.added["text_embeds"][none] = 0
    return found


def guidance_inputs(pipeline: Any, scales: Sequence[float]) -> Mapping[str, Tensor]:
    """What a network that is told the guidance takes of some scales, by argument; nothing for others."""
    return family_of(pipeline).told(pipeline, scales)


@torch.no_grad()
def encode(pipeline: Any, image: Tensor) -> Tensor:
    """Latents (1, C, h, w) of an image (3, H, W) in [0, 1]: the mean of the posterior, scaled."""
    vae = pipeline.vae
    pixels = 2 * image[None].to(vae.device, vae.dtype) - 1
    mean, deviation = _statistics(pipeline, pixels)
    found = vae.encode(pixels).latent_dist.mode()
    latents: Tensor = (found - mean) * vae.config.scaling_factor / deviation
    return latents


@torch.no_grad()
def decode(pipeline: Any, latents: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] of latents (B, C, h, w)."""
    vae = pipeline.vae
    latents = latents.to(vae.dtype)
    mean, deviation = _statistics(pipeline, latents)
    pixels = vae.decode(latents * deviation / vae.config.scaling_factor + mean).sample
    images: Tensor = (pixels.float() / 2 + 0.5).clamp(0, 1)
    return images


def _statistics(pipeline: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the autoencoder's latents (1, C or 1, 1, 1), as the pipeline uses them."""
    both = family_of(pipeline).statistics(pipeline)
    mean, deviation = (torch.as_tensor(x).to(like).view(1, -1, 1, 1) for x in both)
    return mean, deviation


def latent_factor(pipeline: Any) -> int:
    """Pixels a latent is wide: 8 for Stable Diffusion, 1 for `tiny`."""
    return int(2 ** (len(pipeline.vae.config.block_out_channels) - 1))


def size_multiple(pipeline: Any) -> int:
    """What both sides of an image must be divisible by: levels halve exactly, patches are whole."""
    return latent_factor(pipeline) * family_of(pipeline).patch(network_of(pipeline))


def native_size(pipeline: Any) -> int:
    """The side in pixels of the square images that the model was made for."""
    return latent_factor(pipeline) * family_of(pipeline).native(network_of(pipeline))


def ddim(pipeline: Any) -> Any:
    """A DDIM scheduler over the levels of noise that the pipeline's own scheduler has.

    Predictions are not clipped, since a clipped step cannot be undone. What the pipeline's scheduler
    has by default counts as what it says, so that a saved pipeline is sampled as it was before.
    """
    from diffusers import DDIMScheduler

    kept = pipeline.scheduler.config
    config = {k: v for k, v in kept.items() if k != "_use_default_values"}
    name, kind = type(pipeline.scheduler).__name__, config.get("prediction_type", "epsilon")
    if name in DISTILLED:
        raise KdstError(
            f"the model's scheduler {name} draws noise anew in every step and is made for distilled"
            " models; photographs are inverted by a deterministic one, as DDIM"
        )
    if "beta_schedule" not in config or kind not in ("epsilon", "v_prediction"):
        raise KdstError(f"the model's scheduler {name} (predicts {kind}) cannot be run as DDIM")
    cls: Any = DDIMScheduler
    try:
        made = cls.from_config(config, clip_sample=False, thresholding=False)
    except NotImplementedError as e:
        raise KdstError(
            f"the model's scheduler {name} has levels of noise ({config['beta_schedule']}) that DDIM"
            " does not know"
        ) from e
    levels = getattr(pipeline.scheduler, "alphas_cumprod", made.alphas_cumprod)
    if len(levels) != len(made.alphas_cumprod) or not torch.allclose(
        levels.cpu().double(), made.alphas_cumprod.double(), rtol=0, atol=SAME_LEVEL
    ):
        raise KdstError(
            f"the model's scheduler {name} changes its levels of noise in a way that DDIM does not know"
        )
    return made


def digest(pipeline: Any) -> str:
    """Sha256 of all weights that decide an image."""
    found = hashlib.sha256()
    encoders = (getattr(pipeline, f"text_encoder{n}", None) for n in ("", "_2", "_3"))
    for part in (network_of(pipeline), pipeline.vae, *encoders):
        for name, value in part.state_dict().items() if part is not None else ():
            found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            found.update(flat.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
