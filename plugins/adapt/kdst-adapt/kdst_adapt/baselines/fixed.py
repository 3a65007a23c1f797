"""The two baselines: the model as it is, and the model with the statistics of each batch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdst_adapt.models.norms import adaptable_copy
from kdst_adapt.models.wiring import in_layout, sample, settle
from kdst_core.contracts import Diagnostics


class Fixed:
    """A predictor without state: it classifies each batch and changes nothing."""

    def __init__(self, model: nn.Module, device: str, layout: str = "auto") -> None:
        self.model, self.device, self.layout = model, device, layout
        self._format: torch.memory_format | None = None
        self.dtype = next((p.dtype for p in model.parameters()), torch.get_default_dtype())
        self._logits = torch.empty(0)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return logits (B, num_classes) for images (B, C, H, W), dtype of x."""
        images = x.to(self.device, self.dtype)
        if self._format is None:  # as methods have it: cost is relative to `source`
            some = sample(images, tuple(x.shape[1:]))
            self._format = settle(self.model, some, standard=self.layout == "standard")
        self._logits = self.model(in_layout(images, self._format))
        return self._logits.to(x.dtype)

    def reset(self) -> None:
        """Do nothing: there is nothing to forget."""

    @property
    def diagnostics(self) -> Diagnostics:
        """Both readings are the same logits; no update was made."""
        return Diagnostics(self._logits, self._logits, 0, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the future depends on no batch seen."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Do nothing."""


def source(model: nn.Module, device: str, layout: str = "auto") -> Fixed:
    """Return the model as trained, in evaluation mode."""
    return Fixed(adaptable_copy(model, device, batch_statistics=False), device, layout)


def norm(model: nn.Module, device: str, layout: str = "auto") -> Fixed:
    """Return the model with BatchNorm by batch statistics (Schneider et al., 2020; Nado et al., 2020)."""
    return Fixed(adaptable_copy(model, device), device, layout)
