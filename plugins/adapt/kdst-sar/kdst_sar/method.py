"""The algorithm of SAR (Niu et al., ICLR 2023, section 4, algorithm 1)."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kdst_adapt.kit import OnlineAdapter, entropy
from kdst_adapt.models.depth import late_parameters
from kdst_core.contracts import AdaptRequest

if TYPE_CHECKING:
    from kdst_sar import Options

MOMENTUM = 0.9
"""Share of the old value in the running loss."""


class Sar(OnlineAdapter["Options"]):
    """Flat minima of the entropy; returns the logits of its first forward pass, as published."""

    def __init__(self, request: AdaptRequest, options: "Options", device: str = "cpu") -> None:
        self.published = options.profile == "published"
        classes = 1000 if self.published else request.num_classes
        self.margin = options.margin * math.log(classes)
        self.floor = options.reset_below * math.log(classes) / math.log(1000)
        super().__init__(request, options, device)

    def choose(self, named: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """Leave out the last blocks and what follows, which react most (section 4.2); all if none is left."""
        late = late_parameters(self.model, self.wiring.order)
        kept = {name: p for name, p in named.items() if id(p) not in late}
        return kept or named

    def begin(self) -> None:
        """No loss has been seen."""
        self.running: float | None = None

    def reset(self) -> None:
        """Restore everything; the published profile keeps the momentum of SGD."""
        if not self.published:
            return super().reset()
        momentum = self.optimizer.state_dict()
        super().reset()
        self.optimizer.load_state_dict(momentum)

    def update(self, x: Tensor) -> Tensor:
        """One sharpness-aware step (equations 2 to 4), and a reset when the running loss is low."""
        logits: Tensor = self.model(x)
        h = entropy(logits)
        reliable = h < self.margin
        count = int(reliable.sum())
        stepped = self.published or count > 0
        if stepped:
            self._climb(h[reliable].mean())
            count = self._descend(entropy(self.model(x))[reliable])
        self.report(samples=count, updated=stepped)
        self.record("share kept", count / len(x))
        collapsed = self.running is not None and self.running < self.floor
        if collapsed:
            low = self.running
            self.reset()
            self.running = low if self.published else None
        self.record("resets", float(collapsed))
        return logits

    def _climb(self, loss: Tensor) -> None:
        """Move by ρ ∇L / |∇L| to where the loss is about the highest within ρ (equation 4)."""
        gradients = torch.autograd.grad(loss, self.parameters)
        scale = self.options.rho / (torch.stack([g.norm() for g in gradients]).norm() + 1e-12)
        self.foot = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                parameter.add_(scale * gradient)

    def _descend(self, h: Tensor) -> int:
        """Step back and down the gradient found above; return how many images contributed."""
        chosen = h < self.margin
        loss, count = h[chosen].mean(), int(chosen.sum())
        gradients = torch.autograd.grad(loss, self.parameters)
        if count:
            value = loss.item()
            old = self.running
            self.running = value if old is None else MOMENTUM * old + (1 - MOMENTUM) * value
            self.record("loss", value)
        with torch.no_grad():
            for parameter, before in zip(self.parameters, self.foot, strict=True):
                parameter.copy_(before)  # to subtract the ascent would leave its rounding
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        if count or self.published:
            self.optimizer.step()
        self.optimizer.zero_grad()
        return count

    def own_state(self) -> dict[str, Any]:
        """Return the running loss."""
        return {"running": self.running}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take the running loss back."""
        self.running = state["running"]
