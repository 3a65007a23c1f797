"""Image classifiers in the format of transformers: a directory with config.json and safetensors."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError, first_line

PREPROCESSOR = "preprocessor_config.json"
"""The file in which transformers says how images are normalised."""


class Logits(nn.Module):
    """A transformers image classifier that returns its logits, behind its own normalisation."""

    bare = False
    """Whether a normalisation of the images was looked for and not found."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W), normalised, to logits (B, num_classes)."""
        logits: Tensor = self.net(pixel_values=x).logits
        return logits


def is_classifier(model: nn.Module) -> bool:
    """Return whether a model is one of transformers' image classifiers, which return more than logits."""
    config, takes = getattr(model, "config", None), getattr(model, "main_input_name", None)
    return hasattr(config, "id2label") and takes == "pixel_values"


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
        with silence_libraries():
            net, loading = AutoModelForImageClassification.from_pretrained(
                place,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except Exception as e:  # what transformers raises of damaged files is open
        raise unread("transformers", place, e) from e
    refuse_random(f"transformers:{place}", loading)
    preprocessor, classifier = _preprocessor(place), Logits(net)
    classifier.bare = preprocessor is None
    return classifier, *(_normalisation(preprocessor) if preprocessor else ([], []))


def unread(kind: str, place: str, error: Exception) -> KdstError:
    """Return what to say of a model of a kind that transformers could not read."""
    reason, is_path = first_line(error)[:160], Path(place).is_absolute() or place.count("/") > 1
    if is_path and not Path(place).is_dir():
        reason = "there is no such folder"
    return KdstError(f"--model {kind}:{place} cannot be read: {reason}")


def refuse_random(model: str, loading: Mapping[str, Any]) -> None:
    """Raise KdstError when weights that a network has are not in its files, and so are random.

    model: as --model names it. loading: what transformers says of loading it.
    """
    mismatched = [str(m[0]) if isinstance(m, tuple) else str(m) for m in loading["mismatched_keys"]]
    missing = sorted({*map(str, loading["missing_keys"]), *mismatched})
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise KdstError(
            f"--model {model} has no weights for {', '.join(missing[:3])}{more}, which"
            " would be random.\nGive a directory of an image classifier, saved with its head"
        )


def statistics(place: str) -> tuple[list[float], list[float]] | None:
    """Return mean and standard deviation by a directory's preprocessor_config.json, None without one."""
    path = _preprocessor(place)
    return None if path is None else _normalisation(path)


def _preprocessor(place: str) -> Path | None:
    """Return the preprocessor_config.json of a directory, or of a model stored by its name."""
    path = Path(place) / PREPROCESSOR
    if not path.parent.is_dir():
        from transformers.utils.hub import cached_file

        found = cached_file(
            place, PREPROCESSOR, local_files_only=True, _raise_exceptions_for_missing_entries=False
        )
        return None if found is None else Path(found)
    return path if path.is_file() else None


def _normalisation(path: Path) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation, for pixels in [0, 1], by a preprocessor_config.json.

    The preprocessor multiplies pixels of 0 to 255 by a factor, takes 1 off where it says so, and
    normalises, each step unless it is switched off; together that is one normalisation.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        mean, std = [0.0], [1.0]
        if content.get("do_normalize", True):
            mean, std = (list(map(float, content[k])) for k in ("image_mean", "image_std"))
        rescaled = content.get("do_rescale", True)
        factor = 255 * float(content.get("rescale_factor", 1 / 255)) if rescaled else 255.0
        if not 0 < factor < math.inf:
            raise ValueError("its rescale_factor is no number above 0")
        offset = 1.0 if rescaled and content.get("rescale_offset", False) else 0.0
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as e:
        raise KdstError(f"{path} does not hold image_mean and image_std: {e}") from e
    finite = all(map(math.isfinite, mean)) and all(0 < s < math.inf for s in std)
    if not {len(mean), len(std)} <= {1, 3} or not finite:
        raise KdstError(
            f"{path} has image_mean {mean} and image_std {std}; each holds one finite number, or three, and"
            " image_std holds numbers above 0"
        )
    if abs(factor - 1) < 1e-6 and not offset:
        return ([], []) if (mean, std) == ([0.0], [1.0]) else (mean, std)
    return [(m + offset) / factor for m in mean], [s / factor for s in std]
