"""What an image and a prompt are to a pipeline: latents, text conditioning, levels of noise."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_core.errors import KdstError

DISTILLED = frozenset({"LCMScheduler", "TCDScheduler"})
"""Schedulers whose models DDIM does not sample."""
SAME_LEVEL = 1e-5
"""Cumulative products that differ by less are one level; some schedulers keep 2**-24 where DDIM has 0."""


@frozen
class Conditioning:
    """Text conditioning of B rows.

    embeddings: (B, T, D). added: what else the UNet takes, each with B rows (SDXL's pooled text
    and image size).
    """

    embeddings: Tensor
    added: Mapping[str, Tensor] = field(factory=dict)

    def __len__(self) -> int:
        return self.embeddings.shape[0]

    def __add__(self, other: "Conditioning") -> "Conditioning":
        """The rows of both."""
        added = {k: torch.cat([v, other.added[k]]) for k, v in self.added.items()}
        return Conditioning(torch.cat([self.embeddings, other.embeddings]), added)

    def rows(self, index: slice | list[int]) -> "Conditioning":
        """The rows at `index`."""
        return Conditioning(self.embeddings[index], {k: v[index] for k, v in self.added.items()})

    def kwargs(self) -> dict[str, Any]:
        """The arguments that a UNet takes for it."""
        found: dict[str, Any] = {"encoder_hidden_states": self.embeddings}
        if self.added:
            found["added_cond_kwargs"] = dict(self.added)
        return found


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
        found = _condition(pipeline, list(prompts), size)
    none = [i for i in negative if not prompts[i].strip()]
    if none and found.added and pipeline.config.get("force_zeros_for_empty_prompt", False):
        found.embeddings[none] = 0
        found.added["text_embeds"][none] = 0
    return found


def _condition(pipeline: Any, prompts: list[str], size: tuple[int, int]) -> Conditioning:
    """The pipeline's own encoding, with SDXL's pooled text and sizes where it has them."""
    device = pipeline.unet.device
    if _second_encoder(pipeline) is not None:
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


def guidance_inputs(pipeline: Any, scales: Sequence[float]) -> Tensor | None:
    """What a UNet that is told the guidance takes of some scales, (B, D); None for other UNets.

    Luo et al., Latent Consistency Models (2023): an embedding of the scale less 1, as of a timestep.
    """
    width = pipeline.unet.config.get("time_cond_proj_dim")
    if width is None:
        return None
    scale = torch.tensor(scales, dtype=torch.float32) - 1
    found: Tensor = pipeline.get_guidance_scale_embedding(scale, embedding_dim=width)
    return found.to(pipeline.unet.device)


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
    """Mean and deviation of the autoencoder's latents (1, C or 1, 1, 1), as the pipeline uses them.

    SDXL's reads them where both are there; that of Stable Diffusion 1 and 2 does not. Neither reads a
    `shift_factor`.
    """
    config = pipeline.vae.config
    both = [config.get("latents_mean"), config.get("latents_std")]
    if _second_encoder(pipeline) is None or any(x is None for x in both):
        both = [[0.0], [1.0]]
    mean, deviation = (torch.as_tensor(x).to(like).view(1, -1, 1, 1) for x in both)
    return mean, deviation


def latent_factor(pipeline: Any) -> int:
    """Pixels a latent is wide: 8 for Stable Diffusion, 1 for `tiny`."""
    return int(2 ** (len(pipeline.vae.config.block_out_channels) - 1))


def size_multiple(pipeline: Any) -> int:
    """What both sides of an image must be divisible by, so that every level halves exactly."""
    return latent_factor(pipeline) * int(2 ** (len(pipeline.unet.config.block_out_channels) - 1))


def native_size(pipeline: Any) -> int:
    """The side in pixels of the square images that the model was made for."""
    side = pipeline.unet.config.sample_size
    return latent_factor(pipeline) * int(min(side) if isinstance(side, list | tuple) else side)


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
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder, _second_encoder(pipeline)):
        for name, value in part.state_dict().items() if part is not None else ():
            found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            found.update(flat.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _second_encoder(pipeline: Any) -> Any:
    """SDXL's second text encoder, or None."""
    return getattr(pipeline, "text_encoder_2", None)
