"""The algorithm of TDA (Karmanov et al., CVPR 2024, section 3)."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdst_adapt.baselines.fixed import Fixed
from kdst_adapt.kit import adaptable_copy, entropy
from kdst_adapt.models import clip
from kdst_adapt.models.features import Penultimate
from kdst_adapt.models.wiring import sample
from kdst_core.contracts import AdaptRequest
from kdst_tda.cache import Cache

if TYPE_CHECKING:
    from kdst_tda import Options


class Tda(Fixed):
    """Corrects the logits of one image after the other, and keeps features of some of them."""

    by_image = True
    """Batches are taken apart: each image is looked at after those before it."""

    def __init__(self, request: AdaptRequest, options: "Options", device: str = "cpu") -> None:
        self.options, self.classes = options, request.num_classes
        model = adaptable_copy(request.model, device, batch_statistics=False)
        super().__init__(model, device, options.layout)
        images = sample(request.example, request.input_shape).to(device, self.dtype)
        self._features = _Features(model, images, request.num_classes)
        with torch.no_grad():
            model(images)
        like = self._features.take()
        sizes = (options.capacity, options.negative_capacity)
        self.positive, self.negative = (Cache(self.classes, n, like.shape[1], like) for n in sizes)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return the corrected logits (B, num_classes) of images (B, C, H, W)."""
        super().predict(x)
        pairs = zip(self._features.take(), self._logits, strict=True)
        self._logits = torch.stack([self.correct(feature, logits) for feature, logits in pairs])
        return self._logits.to(x.dtype)

    def correct(self, feature: Tensor, logits: Tensor) -> Tensor:
        """Keep an image's feature (D,) where it is wanted; return its corrected logits (C,)."""
        o = self.options
        p, uncertainty = logits.softmax(0), float(entropy(logits[None]))
        label = int(logits.argmax())
        one_hot = F.one_hot(torch.tensor(label), self.classes).to(p)
        self.positive.add(label, feature, uncertainty, one_hot)
        if o.entropy_low < uncertainty / self._most() < o.entropy_high:
            mask = ((p > o.mask_low) & (p < o.mask_high)).to(p)
            self.negative.add(label, feature, uncertainty, mask)
        drawn = o.alpha * self.positive.logits(feature, o.beta)
        pushed = o.negative_alpha * self.negative.logits(feature, o.negative_beta)
        return logits + drawn - pushed

    def _most(self) -> float:
        """Return what entropies are a share of: their maximum in nats, as published in bits."""
        published = self.options.profile == "published"
        return math.log2(self.classes) if published else math.log(self.classes)

    def reset(self) -> None:
        """Forget what was kept."""
        self.positive.clear()
        self.negative.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return both caches."""
        return {"positive": self.positive.state_dict(), "negative": self.negative.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self.positive.load_state_dict(state["positive"])
        self.negative.load_state_dict(state["negative"])


class _Features:
    """Features of length 1 of the newest forward pass: CLIP's, else what the last layer was given."""

    def __init__(self, model: nn.Module, images: Tensor, num_classes: int) -> None:
        tower = clip.found(model)
        self._newest: Tensor | None = None
        self._inner: Penultimate | None = None
        if tower is None:
            self._inner = Penultimate(model, images, num_classes)
        else:
            tower.projection.register_forward_hook(self._keep)

    def _keep(self, _layer: nn.Module, _args: Any, output: Tensor) -> None:
        """Keep the output of CLIP's projection."""
        self._newest = output

    def take(self) -> Tensor:
        """Return the features (B, D), and let go of them."""
        found, self._newest = self._inner.take() if self._inner else self._newest, None
        assert found is not None, "no forward pass since the last call"
        return F.normalize(found, dim=1)
