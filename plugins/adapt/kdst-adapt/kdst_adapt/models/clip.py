"""CLIP-like models as classifiers: images against the prompts of the classes (Radford et al., 2021)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdst_adapt.models import pretrained
from kdst_adapt.models.norms import single_precision
from kdst_adapt.models.text import TextTower
from kdst_adapt.streams.classes import WORDNET
from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError

TEMPLATE = "a photo of a {}."
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's normalisation, for a directory without preprocessor_config.json."""
NAMES = {
    "digits": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    "cifar10-c": [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ],
}
"""Names of the classes of data that have one set of them."""


class Clip(nn.Module):
    """The image tower of a CLIP-like model, and the features of its classes' prompts.

    class_names: of the logits, in order. text_features: (num_classes, D), each of length 1. logit_scale:
    the factor of the cosines. text: the text tower, no module of this one; None without it.
    """

    text_features: Tensor
    logit_scale: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: Any,
        text_features: Tensor,
        class_names: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        text: TextTower | None = None,
    ) -> None:
        super().__init__()
        self.text = text
        self.vision, self.projection = net.vision_model, net.visual_projection
        self.size = int(net.config.vision_config.image_size)
        self.class_names = list(class_names)
        self.register_buffer("text_features", text_features)
        self.register_buffer("logit_scale", net.logit_scale.detach().exp())
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))

    def image_features(self, x: Tensor) -> Tensor:
        """Return features (B, D), each of length 1, of images (B, C, H, W) in [0, 1].

        Grey images get three channels, images of another size are resized (bicubic).
        """
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        if x.shape[2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        pooled = self.vision(pixel_values=(x - self.mean) / self.std).pooler_output
        return F.normalize(self.projection(pooled), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] to logits (B, num_classes), scaled cosines."""
        return self.logit_scale * (self.image_features(x) @ self.text_features.T)


def found(model: nn.Module) -> Clip | None:
    """Return the CLIP-like classifier in a model, None where there is none."""
    return next((m for m in model.modules() if isinstance(m, Clip)), None)


def parts(model: nn.Module) -> dict[str, Any]:
    """Return the fields of a request that a model fills where it is CLIP-like, by name."""
    clip = found(model)
    return {} if clip is None else {"text_features": clip.text_features, "text": clip.text}


def load(
    place: str,
    names: Sequence[str],
    templates: Sequence[str],
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Clip:
    """Return a classifier from a directory of transformers' CLIPModel with its tokenizer.

    names: of the classes. templates: of the prompts, `{}` where the name stands; a class has the mean of
    its prompts' features. mean, std: in place of the preprocessor's. Weights are read from safetensors
    only. KdstError where something is missing.
    """
    try:
        from transformers import AutoTokenizer, CLIPModel
    except ImportError:
        raise KdstError(
            f"--model clip:{place} needs transformers.\nInstall it: pip install transformers"
        ) from None
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    network: Any = CLIPModel
    try:
        with silence_libraries():
            net, loading = network.from_pretrained(
                place, use_safetensors=True, output_loading_info=True, **local
            )
            tokenizer: Any = AutoTokenizer.from_pretrained(place, **local)
    except Exception as e:  # what transformers raises of damaged files is open
        raise pretrained.unread("clip", place, e) from e
    pretrained.refuse_random(f"clip:{place}", loading)
    single_precision(net)
    tokenizer.padding_side = "right"  # positions count from the start of a prompt
    if not mean:
        mean, std = pretrained.statistics(place) or (MEAN, STD)
        mean, std = (mean, std) if mean else ((0.0,), (1.0,))
    text = TextTower(net.eval(), tokenizer, names)
    return Clip(net, mean_features(text, templates), names, mean, std, text).eval()


@torch.no_grad()
def mean_features(text: TextTower, templates: Sequence[str]) -> Tensor:
    """Return the features (num_classes, D), of length 1, of the classes: the mean over their prompts."""
    read = (text(template) for template in templates)
    return F.normalize(torch.stack([features(e) for e, features in read]).mean(0), dim=1)


def read_templates(path: Path | None) -> list[str]:
    """Return the templates of a file, a line each with one {}; the default without a file."""
    if path is None:
        return [TEMPLATE]
    lines = _lines(path, "--templates")
    wrong = [line for line in lines if line.count("{}") != 1]
    if wrong:
        raise KdstError(
            f"--templates {path}: {wrong[0][:60]!r} has not one {{}}.\n"
            "A line is a template, with {} where the name of the class stands"
        )
    return lines


def read_names(path: Path | None, kind: str, folders: Sequence[str]) -> list[str]:
    """Return the names of the classes in the order of the logits.

    path: a file with a line each. Without one those that the data have: kind is the data's, folders are
    the names of class folders. KdstError where these are no words, or there are none.
    """
    if path is not None:
        names = _lines(path, "--class-names")
        if len({*names}) < max(len(names), 2):
            raise KdstError(f"--class-names {path} must hold two names or more, each once")
        return names
    names = sorted(folders) or list(NAMES.get(kind, ()))
    told = "The prompts need words: give --class-names FILE, a line each in the order of the logits"
    if not names:
        raise KdstError(f"--model clip: the data ({kind}) do not name their classes.\n{told}")
    codes = [n for n in names if WORDNET.match(n) or re.fullmatch(r"\d+", n)]
    if codes:
        raise KdstError(f"--model clip: {codes[0]!r} is no name of a class.\n{told}")
    return names


def _lines(path: Path, flag: str) -> list[str]:
    """Return the lines of a text file that are not empty; KdstError where it has none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as e:
        raise KdstError(f"{flag} {path} cannot be read: {e}") from e
    kept = [line.strip() for line in lines if line.strip()]
    if not kept:
        raise KdstError(f"{flag} {path} is empty")
    return kept
