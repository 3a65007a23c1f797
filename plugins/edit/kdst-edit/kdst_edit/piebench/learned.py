"""The measures of PIE-Bench that need weights: CLIP, DINO and LPIPS, each from a local directory.

Nothing is downloaded. What has no weights at hand is left out, and `missing` says why.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import field, frozen
from torch import Tensor
from torch.nn import functional as F

from kdst_core.bench.libraries import silence_libraries
from kdst_core.errors import KdstError, first_line
from kdst_edit.piebench.reader import Image, Pixels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, for DINO."""
Measure = Callable[[Image, Image, Pixels, str], dict[str, float]]


@frozen
class Learned:
    """The measures at hand, and why others are not: name to sentence."""

    measures: tuple[Measure, ...]
    missing: dict[str, str] = field(factory=dict)

    @classmethod
    def load(
        cls, clip: Path | None = None, dino: Path | None = None, lpips: Path | None = None
    ) -> "Learned":
        """Load what directories are given for.

        clip: a transformers CLIP model (published: ViT-L/14) with its processor. dino: a
        transformers ViT (published: dino-vitb8). lpips: a file with the weights of torchvision's
        SqueezeNet 1.1. Raises KdstError for a path that holds no such model.
        """
        made: list[Measure] = []
        missing = {}
        for name, path, build in (
            ("clip", clip, Clip),
            ("dino", dino, Dino),
            ("lpips", lpips, Lpips),
        ):
            if path is None:
                missing[name] = f"no weights were given; --{name} names them"
                continue
            try:
                with silence_libraries("diffusers"):
                    made.append(build.load(path))
            except ImportError as e:
                missing[name] = f"the package {e.name} is not installed, or does not fit this torch"
            except (OSError, ValueError, RuntimeError, KeyError) as e:
                reason = first_line(e)
                raise KdstError(f"--{name} {path} holds no such model: {reason[:120]}") from e
        return cls(tuple(made), missing)

    def score(self, source: Image, edit: Image, mask: Pixels, target: str) -> dict[str, float]:
        """All measures at hand of one edit."""
        found: dict[str, float] = {}
        for measure in self.measures:
            found |= measure(source, edit, mask, target)
        return found


@frozen
class Clip:
    """Similarity of an image and a text: 100 · max(cosine, 0), Hessel et al. (2021)."""

    model: Any
    processor: Any

    @classmethod
    def load(cls, path: Path) -> "Clip":
        """Read model and processor from a directory."""
        from transformers import CLIPModel, CLIPProcessor

        local: dict[str, Any] = {"local_files_only": True}
        model: Any = CLIPModel.from_pretrained(path, use_safetensors=True, **local)
        return cls(model.eval(), CLIPProcessor.from_pretrained(path, **local))

    @torch.no_grad()
    def similarity(self, image: Image, text: str) -> float:
        """Similarity of an image to a text, which is cut where the model's longest text ends."""
        pixels = np.uint8(255 * image + 0.5)
        inputs = self.processor(
            text=[text], images=[pixels], return_tensors="pt", padding=True, truncation=True
        )
        out = self.model(**inputs)
        return 100 * max(float(F.cosine_similarity(out.image_embeds, out.text_embeds)), 0.0)

    def __call__(self, source: Image, edit: Image, mask: Pixels, target: str) -> dict[str, float]:
        """Similarity of the edit, and of its edited region on black, to the target prompt."""
        return {
            "clip_whole": self.similarity(edit, target),
            "clip_edited": self.similarity(edit * mask[..., None], target),
        }


@frozen
class Dino:
    """Structure distance: how differently the parts of two images resemble each other.

    Tumanyan et al., Splicing ViT Features (CVPR 2022), equation 3: the mean squared difference of the
    cosine similarities among the keys of the last layer.
    """

    model: Any

    @classmethod
    def load(cls, path: Path) -> "Dino":
        """Read a vision transformer from a directory."""
        from transformers import ViTModel

        model: Any = ViTModel.from_pretrained(
            path, use_safetensors=True, local_files_only=True, add_pooling_layer=False
        )
        return cls(model.eval())

    @torch.no_grad()
    def self_similarity(self, image: Image) -> Tensor:
        """Cosine similarities (T, T) among the keys of an image's tokens, class token included."""
        shown = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        scale = 224 / min(shown.shape[-2:])
        size = [round(side * scale) for side in shown.shape[-2:]]
        shown = F.interpolate(shown, size=size, mode="bilinear", antialias=True)
        mean, std = (torch.tensor(x)[:, None, None] for x in (MEAN, STD))
        seen: list[Tensor] = []
        keys = self.model.layers[-1].attention.k_proj
        handle = keys.register_forward_hook(lambda _m, _i, output: seen.append(output[0]))
        self.model((shown - mean) / std, interpolate_pos_encoding=True)
        handle.remove()
        unit = F.normalize(seen[0], dim=-1)
        return unit @ unit.T

    def __call__(self, source: Image, edit: Image, mask: Pixels, target: str) -> dict[str, float]:
        """The distance of source and edit."""
        pair = [self.self_similarity(image) for image in (source, edit)]
        return {"structure_distance": float((pair[0] - pair[1]).square().mean())}


@frozen
class Lpips:
    """Perceptual distance outside the edited region (Zhang et al., 2018), by the package `lpips`."""

    network: Any

    @classmethod
    def load(cls, path: Path) -> "Lpips":
        """Build the package's SqueezeNet variant on backbone weights from a file."""
        from importlib import import_module

        try:
            lpips, vision = import_module("lpips"), import_module("torchvision.models")
        except RuntimeError as e:  # torchvision was built for another torch
            raise ImportError(name="torchvision") from e
        backbone = vision.squeezenet1_1(weights=None)
        backbone.load_state_dict(torch.load(path, weights_only=True))
        network = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
        slices = [getattr(network.net, f"slice{n + 1}") for n in range(network.net.N_slices)]
        for part in slices:
            for name, module in part.named_children():
                module.load_state_dict(backbone.features[int(name)].state_dict())
        return cls(network.eval())

    @torch.no_grad()
    def __call__(self, source: Image, edit: Image, mask: Pixels, target: str) -> dict[str, float]:
        """The distance of both images with the region in black."""
        pair = [
            2 * torch.from_numpy(image * ~mask[..., None]).permute(2, 0, 1)[None].float() - 1
            for image in (source, edit)
        ]
        return {"background_lpips": float(self.network(*pair))}
