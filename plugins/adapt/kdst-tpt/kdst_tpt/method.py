"""The algorithm of TPT (Shu et al., NeurIPS 2022, section 3.2)."""

import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from kdst_adapt.augmix import mix
from kdst_adapt.kit import DrawsOnly, adaptable_copy, entropy
from kdst_adapt.surroundings import gradients
from kdst_adapt.views import views
from kdst_core.contracts import AdaptRequest, Diagnostics
from kdst_core.errors import KdstError
from kdst_tpt.prompts import Prompts

if TYPE_CHECKING:
    from kdst_tpt import Options


class Tpt(DrawsOnly):
    """Tunes the prompts for one image and forgets them; implements `OnlinePredictor`."""

    by_image = True
    """Images before the new ones change nothing, so a window would only repeat work."""

    def __init__(self, request: AdaptRequest, options: "Options", device: str = "cpu") -> None:
        if request.text is None:
            raise KdstError("tpt needs a CLIP-like model with its text tower: --model clip:DIR")
        self.options = options
        self.draw_from(request.generator)
        self.model: Any = adaptable_copy(request.model, device, batch_statistics=False)
        self._like = cast(Tensor, self.model.logit_scale)
        with gradients():
            self.prompts = Prompts(request.text, options.context, self._like)
        with torch.no_grad():
            self.untuned = self.prompts.features(self.prompts.start)

    def predict(self, x: Tensor) -> Tensor:
        """Return logits (B, num_classes) of images (B, C, H, W), each under prompts of its own."""
        with gradients():
            images = x.clone() if x.is_inference() else x
            tuned = [self._tune(image.to(self._like)) for image in images]
        before, after, losses = (torch.stack(parts) for parts in zip(*tuned, strict=True))
        scalars = {"loss": losses.mean().item()} if self.options.steps else {}
        updates = self.options.steps * len(x)
        self.diagnostics = Diagnostics(before, after, updates, len(x), scalars)
        return after.to(x.dtype)

    def _tune(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits (C,) of an image before and after its prompts are tuned, and the last loss."""
        features = self._image_features(image)
        context = nn.Parameter(self.prompts.start.clone())
        optimizer = torch.optim.AdamW([context], self.options.lr)
        loss, kept = torch.zeros_like(self._like), None
        for _ in range(self.options.steps):
            logits = self._logits(features, self.prompts.features(context))
            if kept is None:
                kept = most_confident(logits.detach(), self.options.rho)
            loss = marginal_entropy(logits[kept])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            before = self._logits(features[:1], self.untuned)[0]
            after = self._logits(features[:1], self.prompts.features(context))[0]
        return before, after, loss.detach()

    @torch.no_grad()
    def _image_features(self, image: Tensor) -> Tensor:
        """Return the features (N, D), each of length 1, of an image (C, H, W) and its other views."""
        o = self.options
        seen = views(image, o.views, self.generator, o.smallest, flip=o.flip)
        if o.augmix and len(seen) > 1:
            seen = torch.cat([seen[:1], mix(seen[1:], self.generator)])
        found: Tensor = self.model.image_features(seen)
        return found

    def _logits(self, features: Tensor, text: Tensor) -> Tensor:
        """Return logits (N, C) of image features (N, D) and text features (C, D)."""
        return self._like * (features @ text.T)


def most_confident(logits: Tensor, share: float) -> Tensor:
    """Return the numbers of the views (N, C) of lowest entropy, this share of them, one at least."""
    return entropy(logits).argsort(stable=True)[: max(1, int(len(logits) * share))]


def marginal_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of the mean prediction over views with logits (n, C) (equations 2 and 3)."""
    mean = logits.log_softmax(1).logsumexp(0) - math.log(len(logits))
    return -(mean.exp() * mean).sum()
