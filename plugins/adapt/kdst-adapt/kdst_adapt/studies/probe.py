"""What a study measures on the networks themselves, whenever a stream ends."""

from collections.abc import Mapping
from typing import Any

import torch
from attrs import define, field
from torch import Tensor, nn

from kdst_adapt.streams.window import Windowed
from kdst_core.contracts import OnlinePredictor
from kdst_core.errors import KdstError


@define
class Probe:
    """Measures at the end of every stream; `found` goes into the checkpoints of the run."""

    found: dict[str, Tensor] = field(factory=dict)

    def check(self, predictors: Mapping[str, OnlinePredictor]) -> None:
        """Raise KdstError when a predictor hides what would be measured; here nothing is."""

    def see(self, number: int, predictor: OnlinePredictor, x: Tensor, logits: Tensor) -> None:
        """Measure after a batch (B, C, H, W) of stream `number`, by the method; here nothing."""

    def measure(self, number: int, predictors: Mapping[str, OnlinePredictor]) -> None:
        """Measure after stream `number`, the last of `predictors` being the method's; here nothing."""


class NetworkProbe(Probe):
    """A probe of the networks of all predictors."""

    def check(self, predictors: Mapping[str, OnlinePredictor]) -> None:
        """Raise KdstError when a predictor does not show its network."""
        for name, predictor in predictors.items():
            network(predictor, name)


def network(predictor: OnlinePredictor, name: str = "the method") -> nn.Module:
    """Return the network of a predictor as it is adapted at the moment; KdstError when it has none."""
    inner = predictor.inner if isinstance(predictor, Windowed) else predictor
    model: Any = getattr(inner, "model", None)
    if not isinstance(model, nn.Module):
        raise KdstError(
            f"{name} does not show its network, which this study measures.\n"
            "Its predictor needs an attribute `model`, as kdst_adapt.kit.OnlineAdapter has"
        )
    return model


def place(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return where a network lies and its dtype."""
    first = next(model.parameters())
    return first.device, first.dtype


@torch.no_grad()
def energies(model: nn.Module, images: Tensor) -> Tensor:
    """Return E(x) = -logsumexp_y f(x)[y] of images (B, C, H, W), float32 on the CPU."""
    device, dtype = place(model)
    return -model(images.to(device, dtype)).logsumexp(1).to("cpu", torch.float32)
