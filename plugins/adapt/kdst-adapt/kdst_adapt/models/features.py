"""Penultimate features: what a classifier's last linear layer is given."""

from typing import Any

import torch
from torch import Tensor, nn

from kdst_adapt.models.clip import found
from kdst_adapt.models.wiring import first_input, full
from kdst_core.errors import KdstError


class Penultimate:
    """Keeps the features (B, size) of a model's newest forward pass.

    They are what its last linear layer was given; of a CLIP-like model, the projected image before it
    is brought to length 1.
    """

    def __init__(self, model: nn.Module, images: Tensor, num_classes: int) -> None:
        """Try the model on images (B, C, H, W); KdstError where no linear layer gives its logits."""
        self._features: Tensor | None = None
        self.size: int
        clip = found(model)
        if clip is not None:
            self.size = clip.projection.out_features
            clip.projection.register_forward_hook(self._keep_output)
            return
        layer = last_linear(model, images, num_classes)
        self.size = layer.in_features
        layer.register_forward_pre_hook(self._keep_input, with_kwargs=True)

    def _keep_input(self, _layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Keep what a layer is given."""
        self._features = first_input(args, named)

    def _keep_output(self, _layer: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
        """Keep what a layer gives."""
        self._features = output

    def take(self) -> Tensor:
        """Return the features (B, size) of the newest forward pass, and let go of them."""
        features, self._features = self._features, None
        assert features is not None, "no forward pass since the last call"
        return full(features)


@torch.no_grad()
def last_linear(model: nn.Module, images: Tensor, num_classes: int) -> nn.Linear:
    """Return the linear layer that gives a model's logits (B, num_classes); KdstError where none does.

    It is the last of them that is called on images (B, C, H, W), has features (B, d) as its input, and
    an output whose largest value is where that of the logits is.
    """
    called: list[tuple[nn.Linear, torch.Size, Tensor]] = []

    def note(layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any], out: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        called.append((layer, first_input(args, named).shape, out.clone()))

    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    hooks = [m.register_forward_hook(note, with_kwargs=True) for m in linear]
    try:
        logits: Tensor = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    fitting = [
        layer
        for layer, shape, out in called
        if len(shape) == 2 and out.shape == logits.shape and _same_order(out, logits)
    ]
    if not fitting:
        raise KdstError(
            f"the model ({type(model).__name__}) has no linear layer from features (B, d) to its"
            f" {num_classes} classes, so it has no penultimate features"
        )
    return fitting[-1]


def _same_order(out: Tensor, logits: Tensor) -> bool:
    """Return whether two outputs (B, C) have their largest values in the same places."""
    return torch.equal(out.argmax(1), logits.argmax(1))
