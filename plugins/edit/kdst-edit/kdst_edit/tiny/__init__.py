"""A text-to-image diffusion model small enough to ship, and everything that made and measures it."""

from pathlib import Path


def weights_dir() -> Path:
    """The directory of the shipped weights, for `StableDiffusionPipeline.from_pretrained`."""
    return Path(__file__).parent / "weights"
