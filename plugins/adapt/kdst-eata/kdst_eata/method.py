"""The algorithms of ETA and EATA (Niu et al., ICML 2022, section 4)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdst_adapt.selection import SelectiveAdapter, margin_in_nats, usual_distance
from kdst_core.contracts import AdaptRequest
from kdst_core.errors import KdstError
from kdst_eata import EataOptions, EtaOptions


class Eta(SelectiveAdapter[EtaOptions]):
    """Entropy minimisation on chosen images, without an anchor."""

    def __init__(self, request: AdaptRequest, options: EtaOptions, device: str = "cpu") -> None:
        published, classes = options.profile == "published", request.num_classes
        self.margin = margin_in_nats(options.margin, classes, published=published)
        usual = usual_distance(classes, published=published)
        self.distance = usual if options.distance is None else options.distance
        super().__init__(request, options, device)

    def reset(self) -> None:
        """Restore everything; the published profile keeps the mean prediction."""
        mean = self.mean
        super().reset()
        if self.options.profile == "published":
            self.mean = mean


class Eata(Eta):
    """ETA with a quadratic anchor by the Fisher information on source data."""

    options: EataOptions

    def __init__(self, request: AdaptRequest, options: EataOptions, device: str = "cpu") -> None:
        super().__init__(request, options, device)
        if not request.source:
            raise KdstError("eata needs source data: --source npz:FILE")
        self.fisher = self._fisher([x for x, _ in request.source])

    def _fisher(self, batches: list[Tensor]) -> list[Tensor]:
        """Return F for each parameter: the mean over source batches of the squared gradient of the
        cross-entropy to the predicted class (equation 9)."""
        total = [torch.zeros_like(p) for p in self.parameters]
        used = seen = 0
        for x in batches:
            x = x[: self.options.fisher_images - seen]
            seen, used = seen + len(x), used + 1
            logits = self.model(self.arrange(x.to(self.device, self.dtype)))
            loss = F.cross_entropy(logits, logits.argmax(1))
            for f, gradient in zip(total, torch.autograd.grad(loss, self.parameters), strict=True):
                f += gradient**2
            if seen >= self.options.fisher_images:
                break
        return [f / used for f in total]

    def anchor(self) -> Tensor:
        """β Σ F (θ - θ₀)² (equation 8)."""
        triples = zip(self.fisher, self.parameters, self.start, strict=True)
        return (
            self.options.fisher_weight
            * torch.stack([(f * (p - s) ** 2).sum() for f, p, s in triples]).sum()
        )
