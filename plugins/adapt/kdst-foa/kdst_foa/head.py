"""The last linear layer of a classifier, quantised or not, and the features that it is given."""

from typing import Any

import torch
from torch import Tensor, nn

from kdst_adapt.models.wiring import first_input, full
from kdst_core.errors import KdstError


class Head:
    """Keeps what the last layer was given in the newest forward pass, and can be asked for others."""

    def __init__(self, model: nn.Module, images: Tensor, num_classes: int) -> None:
        """Try the model on images (B, C, H, W); KdstError where its logits are no such layer's."""
        self._layer, logits = _last_layer(model, images, num_classes)
        self._features: Tensor | None = None
        self._half: torch.dtype | None = None
        self._layer.register_forward_pre_hook(self._keep, with_kwargs=True)
        given = self.logits(self.take(model(images)))
        if not torch.allclose(given, logits, rtol=1e-3, atol=1e-4):
            raise KdstError(
                f"the logits of the model ({type(model).__name__}) are not what its last linear layer"
                " gives, so features before it cannot be shifted"
            )

    def _keep(self, _layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Keep the layer's input, and the half precision in which the model computes, if any."""
        self._features = x = first_input(args, named)
        kind = x.device.type
        self._half = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None

    def take(self, _logits: Tensor) -> Tensor:
        """Return the features (B, d) behind the newest logits, and let go of them."""
        features, self._features = self._features, None
        assert features is not None, "no forward pass since the last call"
        return full(features)

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of features (B, d), in the model's precision."""
        half = self._half
        with torch.autocast(features.device.type, dtype=half, enabled=half is not None):
            logits: Tensor = self._layer(features)
        self._features = None
        return full(logits)


@torch.no_grad()
def _last_layer(model: nn.Module, images: Tensor, num_classes: int) -> tuple[nn.Module, Tensor]:
    """Return the last layer called that turns features (B, d) into the classes, and the logits.

    A quantised layer is known by `out_features`, as it is no `nn.Linear`.
    """
    called: list[nn.Module] = []

    def note(layer: nn.Module, args: Any, named: dict[str, Any]) -> None:
        if len(first_input(args, named).shape) == 2:
            called.append(layer)

    fitting = [m for m in model.modules() if getattr(m, "out_features", None) == num_classes]
    hooks = [m.register_forward_pre_hook(note, with_kwargs=True) for m in fitting]
    try:
        logits: Tensor = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not called:
        raise KdstError(
            f"the model ({type(model).__name__}) has no linear layer from features (B, d) to its"
            f" {num_classes} classes, so FOA has nothing to shift"
        )
    return called[-1], logits
