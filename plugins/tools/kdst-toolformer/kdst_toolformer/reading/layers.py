"""A copy of a model in which other layers stand for the linear ones, to compute in fewer bits."""

import copy
from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

LARGE = 100_000_000
"""Parameters above which fewer bits are used where the CPU can: in smaller models the products of
matrices are not what a token costs."""

Make = Callable[[Tensor, Tensor | None], nn.Module]
"""Makes a layer of weight (N, K) and bias (N,)."""


def replaced(model: nn.Module, make: Make, keep: nn.Module | None = None) -> nn.Module:
    """Return a copy with other linear layers, but for the one to keep; all else is shared with it."""
    shared = [*model.parameters(), *model.buffers()]
    memo: dict[int, object] = {id(tensor): tensor for tensor in shared}
    with torch.no_grad():
        memo |= {id(a): make(*_parts(a)) for a in linear(model) if a is not keep}
    return copy.deepcopy(model, memo)


def linear(model: nn.Module) -> Iterator[nn.Module]:
    """The layers that are nothing but a product with a matrix."""
    return (layer for layer in model.modules() if type(layer) in (nn.Linear, Conv1D))


def _parts(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight (N, K) and bias (N,) of a layer; the weights of GPT-2's stand the other way round."""
    weight, bias = cast(Tensor, layer.weight), cast("Tensor | None", layer.bias)
    return weight.t() if isinstance(layer, Conv1D) else weight, bias


def against(model: nn.Module) -> str:
    """Why no layers of a model can be replaced for a CPU; empty where they can."""
    device = next(model.parameters()).device.type
    if device != "cpu":
        return f"it is for a CPU, and the model lies on {device}"
    if not any(linear(model)):
        return f"the model {type(model).__name__} has no linear layers of a kind that is known"
    return ""


def pays(model: nn.Module) -> bool:
    """Whether a model is one that fewer bits are worth it for: large, and in float32."""
    size, first = sum(p.numel() for p in model.parameters()), next(model.parameters())
    return size > LARGE and first.dtype == torch.float32
