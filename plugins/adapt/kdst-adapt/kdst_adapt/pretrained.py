"""Image classifiers in the format of transformers: a directory with config.json and safetensors."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kdst_core.errors import KdstError


class Logits(nn.Module):
    """A transformers image classifier that returns its logits, behind its own normalisation."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W), normalised, to logits (B, num_classes)."""
        logits: Tensor = self.net(pixel_values=x).logits
        return logits


def load(place: str) -> tuple[nn.Module, list[float], list[float]]:
    """Return a classifier with mean and standard deviation of its preprocessor (empty without one).

    place: a directory, or the name of a model that transformers has already stored on this machine.
    Weights are read from safetensors only, and no code of the model is run. KdstError when transformers
    is not installed or the model cannot be read.
    """
    try:
        from transformers import AutoModelForImageClassification
    except ImportError:
        raise KdstError(
            f"--model transformers:{place} needs transformers.\nInstall it: pip install transformers"
        ) from None
    try:
        net: Any = AutoModelForImageClassification.from_pretrained(
            place, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError) as e:
        reason = (str(e).splitlines() or [""])[0]
        raise KdstError(f"--model transformers:{place} cannot be read: {reason[:160]}") from e
    mean, std = _normalisation(place)
    return Logits(net), mean, std


def _normalisation(place: str) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation from a directory's preprocessor_config.json."""
    path = Path(place) / "preprocessor_config.json"
    if not path.is_file():
        return [], []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return list(map(float, content["image_mean"])), list(map(float, content["image_std"]))
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise KdstError(f"{path} does not hold image_mean and image_std: {e}") from e
