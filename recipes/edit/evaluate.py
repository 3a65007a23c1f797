"""What a pipeline can do, measured: prompts followed, words located, real images reconstructed."""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDIMInverseScheduler, StableDiffusionPipeline
from torch import Tensor
from torch.nn import functional as F

from kdst_edit.shapes.analyse import MIN_FIT, Reading, read_background, read_object, read_pair
from kdst_edit.shapes.render import render
from kdst_edit.shapes.scene import COLOURS, SHAPES, Mix, Scenes, captions, sample_scenes
from recipes.edit.attention import recorded
from recipes.edit.intervals import Measured, area_under_curve, mean, rate
from recipes.edit.model import token_ids

BATCH = 64


@dataclass(frozen=True)
class Sampling:
    """How images are sampled from prompts."""

    steps: int = 20
    guidance: float = 3.0
    seed: int = 1


def sample(
    pipeline: StableDiffusionPipeline, prompts: list[str], how: Sampling
) -> tuple[Tensor, Tensor]:
    """Images (B, 3, 32, 32) in [-1, 1], and attention (B, 2, 16, 16) of colour and shape words.

    The words are the first colour and the first shape of each prompt.
    """
    generator = torch.Generator().manual_seed(how.seed)
    pipeline.set_progress_bar_config(disable=True)
    images, maps = [], []
    for start in range(0, len(prompts), BATCH):
        part = prompts[start : start + BATCH]
        with recorded(pipeline.unet, _word_positions(pipeline, part)) as attention:
            pixels = pipeline(
                part,
                num_inference_steps=how.steps,
                guidance_scale=how.guidance,
                generator=generator,
                output_type="pt",
            ).images
        images.append(2 * pixels.float().cpu() - 1)
        maps.append(attention.maps())
    return torch.cat(images), torch.cat(maps)


def _word_positions(pipeline: StableDiffusionPipeline, prompts: list[str]) -> Tensor:
    """Positions (B, 2) of the first colour word and the first shape word."""
    ids = token_ids(pipeline.tokenizer, prompts)
    kinds = (tuple(COLOURS), SHAPES)
    words = [torch.tensor(pipeline.tokenizer.convert_tokens_to_ids(list(k))) for k in kinds]
    return torch.stack([torch.isin(ids, w).float().argmax(1) for w in words], 1)


def score_single(scenes: Scenes, images: Tensor) -> dict[str, Tensor]:
    """For single objects, whether each part of the caption was followed (B,).

    A silhouette counts as its shape only with an intersection over union of at least 0.6.
    """
    reading = read_object(images)
    shape = (reading.shape == scenes.shape[:, 0]) & (reading.fit >= MIN_FIT)
    return {
        "background": read_background(images) == scenes.background,
        "colour": reading.colour == scenes.colour[:, 0],
        "texture": reading.texture == scenes.texture[:, 0],
        "shape": shape,
    }


def score_pair(scenes: Scenes, images: Tensor) -> dict[str, Tensor]:
    """For pairs, whether each object, in its half, has its colour, its shape, and both (B,)."""
    readings = read_pair(images, scenes.relation)
    colour = _both(scenes.colour, readings, "colour")
    shape = _both(scenes.shape, readings, "shape")
    shape &= torch.stack([r.fit >= MIN_FIT for r in readings], 1).all(1)
    return {"pair_colour": colour, "pair_shape": shape, "pair_both": colour & shape}


def _both(wanted: Tensor, readings: tuple[Reading, Reading], name: str) -> Tensor:
    return (torch.stack([getattr(r, name) for r in readings], 1) == wanted).all(1)


def prompt_scenes(count: int, seed: int) -> tuple[Scenes, Scenes]:
    """`count` fresh single objects and half as many pairs, to be asked for by their captions."""
    generator = torch.Generator().manual_seed(seed)
    single = sample_scenes(count, generator, Mix(pair=0.0), fresh=True)
    return single, sample_scenes(max(count // 2, 1), generator, Mix(pair=1.0), fresh=True)


def score_prompts(
    pipeline: StableDiffusionPipeline, count: int, how: Sampling
) -> dict[str, Measured]:
    """Scores on `count` fresh single-object prompts and half as many pairs."""
    single, pair = prompt_scenes(count, how.seed)
    images, maps = sample(pipeline, captions(single), how)
    scores = {name: rate(right) for name, right in score_single(single, images).items()}
    mask = F.avg_pool2d(read_object(images).mask[:, None].float(), 2).flatten(1) >= 0.5
    for k, word in enumerate(("colour", "shape")):
        curve = area_under_curve(maps[:, k].flatten(1), mask)
        scores[f"{word}_word_auc"] = mean(curve)
    pairs, _ = sample(pipeline, captions(pair), how)
    return scores | {name: rate(right) for name, right in score_pair(pair, pairs).items()}


def score_analyser(count: int, seed: int) -> dict[str, Measured]:
    """The same readings on real renders: how far the other scores can be trusted."""
    generator = torch.Generator().manual_seed(seed)
    single = sample_scenes(count, generator, Mix(pair=0.0))
    pair = sample_scenes(count, generator, Mix(pair=1.0))
    images = render(single)
    right = score_single(single, images) | score_pair(pair, render(pair))
    scores = {name: rate(values) for name, values in right.items()}
    away = (read_object(images).centre - single.centre[:, 0]).norm(dim=1)
    return scores | {"position_error_px": mean(away)}


@torch.no_grad()
def score_inversion(
    pipeline: StableDiffusionPipeline, count: int, steps: int, seed: int
) -> Measured:
    """PSNR in dB of real renders inverted by DDIM with their captions and sampled at guidance 1.

    Song et al., Denoising Diffusion Implicit Models (2021), section 4.3.
    """
    generator = torch.Generator().manual_seed(seed)
    scenes = sample_scenes(count, generator)
    images = render(scenes).to(pipeline.device)
    ids = token_ids(pipeline.tokenizer, captions(scenes)).to(pipeline.device)
    words = pipeline.text_encoder(ids)[0]
    latents = pipeline.vae.encode(images).latent_dist.mode() * pipeline.vae.config.scaling_factor
    inverse = DDIMInverseScheduler.from_config(pipeline.scheduler.config)
    for scheduler in (inverse, pipeline.scheduler):
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps:
            predicted = pipeline.unet(latents, t, words).sample
            latents = scheduler.step(predicted, t, latents).prev_sample
    decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    error = ((decoded.clamp(-1, 1) - images) / 2).square().mean((1, 2, 3))
    return mean(-10 * error.log10())
