"""The embedded model: a text-to-image diffusion model small enough to ship."""

from pathlib import Path


def weights_dir() -> Path:
    """Return the directory of its weights, for `StableDiffusionPipeline.from_pretrained`."""
    return Path(__file__).parent / "weights"
