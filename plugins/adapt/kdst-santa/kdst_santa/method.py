"""The algorithm of SANTA (Chakrabarty et al., TMLR 2023, section 3)."""

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kdst_adapt.augment import augment
from kdst_adapt.kit import OnlineAdapter, adaptable_copy
from kdst_adapt.models.features import Penultimate
from kdst_adapt.models.wiring import sample
from kdst_core.contracts import AdaptRequest
from kdst_core.errors import KdstError
from kdst_santa.alignment import alignment, nearest, projector

if TYPE_CHECKING:
    from kdst_santa import Options


class Santa(OnlineAdapter["Options"]):
    """Learns from the source model and its prototypes; returns the logits before the update."""

    def __init__(self, request: AdaptRequest, options: "Options", device: str = "cpu") -> None:
        if not request.source:
            raise KdstError("santa needs source data: --source npz:FILE")
        self.request = request
        super().__init__(request, options, device)

    def choose(self, named: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """Add the projector, which learns too, of the size of the model's features."""
        self.anchor = copy.deepcopy(self.model)
        self.features = self._penultimate(self.model)
        self.prototypes = self._prototypes(self.request)
        inputs = self.features.size
        net = projector(inputs, self.options.projection, self.generator)
        self.projector = net.to(self.device, self.dtype)
        return {**named, **{f"projector.{n}": p for n, p in self.projector.named_parameters()}}

    def update(self, x: Tensor) -> Tensor:
        """One step on L_SA + λ L_TA of images (B, C, H, W)."""
        logits: Tensor = self.model(x)
        features = self.features.take()
        strong = self.arrange(augment(x, self.generator, flip=self.options.flip))
        strong_logits: Tensor = self.model(strong)
        views = torch.stack(
            [nearest(features.detach(), self.prototypes), features, self.features.take()]
        )
        anchoring = self.anchoring(x, logits, strong_logits)
        aligning = alignment(self.projector(views), self.options.temperature)
        self.step(anchoring + self.options.alignment * aligning)
        self.record("anchoring", anchoring)
        self.record("alignment", aligning)
        return logits

    def anchoring(self, x: Tensor, logits: Tensor, strong_logits: Tensor) -> Tensor:
        """L_SA: − mean Σ (p log a + q log a), a of the source model under the batch's statistics (2)."""
        with torch.no_grad():
            log_a = self.anchor(x).log_softmax(1)
        p, q = logits.softmax(1), strong_logits.softmax(1)
        return -((p + q) * log_a).sum(1).mean()

    def _penultimate(self, model: nn.Module) -> Penultimate:
        """Return what keeps the features of a model."""
        images = sample(self.request.example, self.request.input_shape)
        return Penultimate(
            model, self.arrange(images.to(self.device, self.dtype)), self.request.num_classes
        )

    @torch.no_grad()
    def _prototypes(self, request: AdaptRequest) -> Tensor:
        """Return the mean feature (C, d) of each class of the source, by the statistics of training."""
        model = adaptable_copy(request.model, self.device, batch_statistics=False)
        kept = self._penultimate(model)
        total = torch.zeros(*(request.num_classes, kept.size), dtype=self.dtype, device=self.device)
        count = total.new_zeros(request.num_classes)
        for x, y in _first(request.source or (), self.options.prototype_images):
            model(self.arrange(x.to(self.device, self.dtype)))
            labels = y.to(self.device, torch.long)
            total.index_add_(0, labels, kept.take())
            count.index_add_(0, labels, torch.ones_like(labels, dtype=self.dtype))
        missing = (count == 0).nonzero().flatten().tolist()
        if missing:
            raise KdstError(
                f"santa needs source images of every class; there is none of class {missing[0]}"
                f" ({len(missing)} of {request.num_classes} have none).\n"
                "Give others as --source, or more of them by --prototype-images"
            )
        return total / count[:, None]


def _first(
    batches: Iterable[tuple[Tensor, Tensor]], most: int | None
) -> Iterable[tuple[Tensor, Tensor]]:
    """Yield batches of images and labels up to `most` images."""
    left = most
    for x, y in batches:
        if left is not None and left <= 0:
            return
        yield x[:left], y[:left]
        left = None if left is None else left - len(x)
