"""The embedded models: text-to-image models small enough to ship, a UNet and a flow transformer."""

from pathlib import Path

FOLDERS = {"tiny": "weights", "tiny-flow": "flow"}
"""The names that --model knows, and where their weights lie."""


def weights_dir(name: str = "tiny") -> Path:
    """Return the directory of a model's weights, for `from_pretrained` of its pipeline."""
    return Path(__file__).parent / FOLDERS[name]
