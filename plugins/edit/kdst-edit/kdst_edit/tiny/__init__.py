"""A text-to-image diffusion model small enough to ship, what made it and what measures it."""

from pathlib import Path


def weights_dir() -> Path:
    """The directory of the shipped weights, for `StableDiffusionPipeline.from_pretrained`."""
    return Path(__file__).parent / "weights"
