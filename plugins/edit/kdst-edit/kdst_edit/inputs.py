"""The bench's own options: which model, what to edit towards what, and how it is sampled."""

from pathlib import Path
from typing import Literal

from attrs import frozen

from kdst_core.options import option
from kdst_edit.inversion.settings import ETA, GAMMA, LED, Kind

DEFAULT_SOURCE = "a red disc on a white background"
DEFAULT_TARGET = "a blue disc on a white background"
PUBLISHED_SKIP = 0.36


@frozen
class EditInputs:
    """Model, prompts, image and sampling of an edit."""

    model: str = option(
        "tiny",
        "tiny (embedded), tiny-flow (the same world by a flow transformer), a directory that a"
        " diffusers pipeline was saved in, a single-file checkpoint (.safetensors), or a hub id"
        " (owner/name): Stable Diffusion 1.x, 2.x, XL, 3, FLUX.1, PixArt.",
    )
    model_config: Path | None = option(
        None,
        "For a single-file checkpoint: a directory of a diffusers pipeline in the same layout, of"
        " which configurations and tokenizers are read. Default: the file's own directory.",
    )
    lora: list[str] = option(
        [], "DIR_OR_FILE[=WEIGHT]: LoRA weights (.safetensors) to add to the model's; several."
    )
    vae: Path | None = option(None, "A directory with another autoencoder for the model.")
    attention_slicing: bool = option(
        False, "Compute attention head by head: slower, with less memory; the same images."
    )
    source: str | None = option(
        None, f"Prompt of the source. Default: {DEFAULT_SOURCE} on tiny; empty for an image."
    )
    target: str | None = option(
        None,
        "Prompts to edit towards, separated by |. Default: the source prompt, for methods that edit"
        f" it without other words; {DEFAULT_TARGET} where --source is left out, too.",
    )
    negative_prompt: str = option("", "Prompt to stay away from; empty is none.")
    image: Path | None = option(None, "Edit this photograph instead of a generated image.")
    size: int | None = option(
        None, "Side in pixels, the shorter one of a photograph. Default: the model's own.", min=8
    )
    mask: Path | None = option(
        None, "Image, white where the edit is wanted; preservation is measured outside it."
    )
    confine: bool = option(
        False,
        "Confine the edit to --mask: outside it the source is put back after every step.",
    )
    inversion: Kind = option(
        "direct",
        "How a photograph is inverted: direct (DDIM, and the source is put back on its path after"
        " each step), ddim, null-text, ddpm (edit-friendly); flow models by direct, ddim, rf-inversion,"
        " rf-solver.",
    )
    inversion_prompt: str | None = option(
        None, "Prompt to invert a photograph with. Default: that of --source."
    )
    substeps: int = option(1, "Finer inversion steps in each step of sampling.", min=1)
    fixed_point: int = option(0, "Refining iterations of each DDIM inversion step.", min=0)
    skip: float = option(
        PUBLISHED_SKIP, "Share of the steps that ddpm does not carry out.", min=0, max=0.99
    )
    rf_gamma: float = option(
        GAMMA, "rf-inversion: how far the way to noise is led to noise (gamma).", min=0, max=1
    )
    rf_eta: float = option(
        ETA, "rf-inversion: how far the way back is led to the photograph (eta).", min=0, max=1
    )
    rf_led: float = option(
        LED,
        "rf-inversion: share of the steps in which eta acts; 6 of 28 as published.",
        min=0,
        max=1,
    )
    inversions: Path | None = option(
        None, "Directory that keeps inversions for later runs. Default: in the run's own."
    )
    steps: int | None = option(
        None,
        "Steps of sampling, and of inversion. Default: 50, 4 for few-step models, and the pipeline's"
        " own for transformers (28, PixArt 20).",
        min=1,
        max=1000,
    )
    guidance: float | None = option(
        None,
        "Guidance scale; up to 1 is none. Default: 7.5, 3 on tiny, 0 for Turbo models, 8.5 for latent"
        " consistency models, which are told it, and the pipeline's own for transformers (Stable"
        " Diffusion 3: 7, PixArt 4.5, FLUX.1 dev, which is told it, 3.5).",
        min=0,
    )
    guidance_rescale: float = option(
        0.0,
        "Bring guided predictions back to the spread of those for the prompt, by this share (Lin et"
        " al., 2023; .7 there).",
        min=0,
        max=1,
    )
    scheduler: Literal["auto", "ddim", "own"] = option(
        "auto",
        "ddim: DDIM over the levels of noise of the model's scheduler; own: that scheduler itself, for"
        " generated sources. auto: ddim, and own where DDIM cannot stand for it. Flow models have one"
        " way: Euler's steps, as their pipelines take them.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto",
        "Precision of network and text encoders. auto: float32 on the CPU, that of the saved weights"
        " elsewhere. Latents, autoencoder and inversion are float32 always.",
    )
    max_rows: int = option(
        16, "Most rows of one call of the network; fewer need less memory.", min=1
    )
    baseline: bool = option(
        True, "Also sample the targets without control, for the measures named plain."
    )
