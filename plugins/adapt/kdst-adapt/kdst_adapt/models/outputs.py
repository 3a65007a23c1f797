"""What a model returns beside logits: auxiliary heads, dictionaries."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from kdst_adapt.models.resnet import Normalized


class Picked(nn.Module):
    """A network of several outputs, of which the logits are returned."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        """Images (B, C, H, W) to logits (B, num_classes)."""
        logits = logits_of(self.net(x))
        return (
            logits[None]
            if len(x) == 1 and isinstance(logits, Tensor) and lost_row(logits)
            else logits
        )


def lost_row(logits: Tensor) -> bool:
    """Return whether the logits of one image came as (num_classes,), as after `squeeze()`."""
    return logits.dim() == 1 and len(logits) > 1


def logits_of(output: Any) -> Any:
    """Return the logits of an output, or the output where it does not tell them.

    They are what is named so, by a key or an attribute, or the first of several tensors
    (B, num_classes) of one shape, as networks with auxiliary heads return them.
    """
    if isinstance(output, Mapping):
        return output.get("logits", output)
    if isinstance(named := getattr(output, "logits", None), Tensor):
        return named
    if isinstance(output, tuple | list) and output:
        shapes = [tuple(o.shape) if isinstance(o, Tensor) else None for o in output]
        alike = shapes[0] is not None and len(set(shapes)) == 1 and len(shapes[0]) == 2
        return output[0] if alike else output
    return output


def picking(model: nn.Module) -> nn.Module:
    """Return a model, behind its normalisation where it has one, that returns the logits only."""
    if not isinstance(model, Normalized):
        return Picked(model).eval()
    model.net = Picked(model.net).eval()
    return model
