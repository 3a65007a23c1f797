"""Penultimate features: what a classifier's last linear layer is given."""

from typing import Any

import torch
from torch import Tensor, nn

from kdst_adapt.models.wiring import first_input
from kdst_core.errors import KdstError


class Penultimate:
    """Keeps what the last linear layer of a model was given in the newest forward pass, (B, d)."""

    def __init__(self, model: nn.Module, images: Tensor, num_classes: int) -> None:
        """Try the model on images (B, C, H, W); KdstError where no linear layer gives its logits."""
        self.layer = last_linear(model, images, num_classes)
        self._features: Tensor | None = None
        self.layer.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, _layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Keep the layer's input."""
        self._features = first_input(args, named)

    def take(self) -> Tensor:
        """Return the features (B, d) of the newest forward pass, and let go of them."""
        features, self._features = self._features, None
        assert features is not None, "no forward pass since the last call"
        return features


@torch.no_grad()
def last_linear(model: nn.Module, images: Tensor, num_classes: int) -> nn.Linear:
    """Return the linear layer that gives a model's logits (B, num_classes); KdstError where none does.

    It is the last that is called on images (B, C, H, W), and has features (B, d) as its input.
    """
    called: list[tuple[nn.Linear, torch.Size]] = []

    def note(layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        assert isinstance(layer, nn.Linear)
        called.append((layer, first_input(args, named).shape))

    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    hooks = [m.register_forward_pre_hook(note, with_kwargs=True) for m in linear]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    fitting = [m for m, shape in called if m.out_features == num_classes and len(shape) == 2]
    if not fitting:
        raise KdstError(
            f"the model ({type(model).__name__}) has no linear layer from features (B, d) to its"
            f" {num_classes} classes, so it has no penultimate features"
        )
    return fitting[-1]
