"""The algorithm of LAME (Boudiaf et al., CVPR 2022, section 4)."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from kdst_adapt.baselines.fixed import Fixed
from kdst_adapt.kit import adaptable_copy
from kdst_adapt.models.features import Penultimate
from kdst_adapt.models.wiring import sample
from kdst_core.contracts import AdaptRequest
from kdst_core.errors import KdstError
from kdst_lame.affinity import AFFINITIES

if TYPE_CHECKING:
    from kdst_lame import Options

FLOOR = 1e-10
"""Added to the model's probabilities inside the logarithm, as published."""


class Lame(Fixed):
    """Adjusts the predictions of each batch by itself; keeps nothing between batches."""

    def __init__(self, request: AdaptRequest, options: "Options", device: str = "cpu") -> None:
        self.options = options
        model = adaptable_copy(request.model, device, batch_statistics=False)
        super().__init__(model, device, options.layout)
        self.features: Penultimate | None = None
        if options.features == "penultimate":
            images = sample(request.example, request.input_shape).to(device, self.dtype)
            try:
                self.features = Penultimate(model, images, request.num_classes)
            except KdstError as e:
                raise KdstError(f"{e}\nGive --features logits to measure distances there") from e

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return log Z (B, num_classes), the adjusted log-probabilities of images (B, C, H, W)."""
        super().predict(x)
        features = self.features.take() if self.features else self._logits
        w = self.affinity(F.normalize(features, dim=1))
        self._logits = self.assign(self._logits.softmax(1), w)
        return self._logits.to(x.dtype)

    def affinity(self, features: Tensor) -> Tensor:
        """Return W (B, B) of features (B, d) of length 1; symmetric unless published."""
        published = self.options.profile == "published"
        w = AFFINITIES[self.options.affinity](features, self.options.k, published=published)
        return w if published else (w + w.T) / 2

    def assign(self, p: Tensor, w: Tensor) -> Tensor:
        """Return log Z (B, C) where z_i ∝ q_i exp(Σ_j w_ij z_j) is iterated to its end (equation 6)."""
        log_q = (p + FLOOR).log()
        log_z = log_q.log_softmax(1)
        pull, old = w @ log_z.exp(), float("inf")
        for step in range(self.options.iterations):
            log_z = (log_q + pull).log_softmax(1)
            new_pull = w @ log_z.exp()
            published = self.options.profile == "published"
            value = energy(log_z, log_q, pull if published else new_pull / 2)
            pull = new_pull
            if step > 1 and abs(value - old) <= self.options.tolerance * abs(old):
                break
            old = value
        return log_z


def energy(log_z: Tensor, log_q: Tensor, pull: Tensor) -> float:
    """Return Σ_i KL(z_i ‖ q_i) − Σ_i z_i · pull_i (equation 4), of logarithms and pulls (B, C).

    With pull = W Z / 2 it is what the iterations lower.
    """
    z = log_z.exp()
    return float((z * (log_z - log_q - pull)).sum())
