"""The algorithm of MEMO (Zhang et al., NeurIPS 2022, algorithm 1)."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kdst_adapt.augmix import augment
from kdst_adapt.kit import DrawsOnly, adaptable_copy, entropy
from kdst_adapt.surroundings import gradients
from kdst_core.contracts import AdaptRequest, Diagnostics
from kdst_memo.norm import mix_statistics

if TYPE_CHECKING:
    from kdst_memo import Options


class Memo(DrawsOnly):
    """Adapts all parameters to one image and forgets it; implements `OnlinePredictor`."""

    by_image = True
    """Images before the new ones change nothing, so a window would only repeat work."""

    def __init__(self, request: AdaptRequest, options: "Options", device: str = "cpu") -> None:
        self.options, self.device = options, device
        model = adaptable_copy(request.model, device, batch_statistics=False)
        self.model = mix_statistics(model, options.prior).requires_grad_(True)
        self.parameters = list(self.model.parameters())
        self.start = [p.detach().clone() for p in self.parameters]
        self.draw_from(request.generator)

    def predict(self, x: Tensor) -> Tensor:
        """Return logits (B, num_classes) of images (B, C, H, W), each under parameters of its own."""
        with gradients():
            images = x.clone() if x.is_inference() else x
            before, after, losses = zip(*(self._adapt(image) for image in images), strict=True)
        steps = self.options.steps * len(x)
        loss = torch.stack(losses).mean().item()
        self.diagnostics = Diagnostics(
            torch.cat(before), torch.cat(after), steps, len(x), {"loss": loss}
        )
        return torch.cat(after).to(x.dtype)

    def _adapt(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits (1, num_classes) before and after adapting to an image, and the loss."""
        image = image.to(self.device, self.start[0].dtype)
        before = self._logits(image)
        optimizer = torch.optim.SGD(self.parameters, self.options.lr)
        for _ in range(self.options.steps):
            copies = augment(
                image,
                self.options.augmentations,
                self.generator,
                severity=self.options.strength,
                flip=self.options.flip,
            )
            loss = marginal_entropy(self.model(copies))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        after = self._logits(image)
        self._forget()
        return before, after, loss.detach()

    @torch.no_grad()
    def _logits(self, image: Tensor) -> Tensor:
        """Return the logits (1, num_classes) of one image under the parameters of the moment."""
        logits: Tensor = self.model(image[None])
        return logits

    @torch.no_grad()
    def _forget(self) -> None:
        """Put the parameters back to those of training."""
        for parameter, start in zip(self.parameters, self.start, strict=True):
            parameter.copy_(start)
            parameter.grad = None


def marginal_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of the mean prediction over copies, of logits (B, C) (equation 2)."""
    return entropy(logits.log_softmax(1).logsumexp(0, keepdim=True)).mean()
