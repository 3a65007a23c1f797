"""A model whose linear layers compute in 8 bits, for calls that are only proposed.

Weights have a scale a row, activations a scale a token, both symmetric; products are summed exactly in
integers. So what a layer says of a token depends on no other token of the batch.
"""

import copy
from collections.abc import Iterator
from typing import Literal, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from kdst_core.errors import KdstError

SamplingDtype = Literal["auto", "same", "int8"]

LARGE = 100_000_000
"""Parameters above which proposals are computed in 8 bits where the CPU can: in smaller models the
products of matrices are not what a token costs."""

MOST = 127
"""Largest number in 8 bits, on both sides of 0."""


class Int8Linear(nn.Module):
    """A linear layer in 8 bits: y = s_x s_w (x̂ ŵᵀ) + b, with x ≈ s_x x̂ a token and w ≈ s_w ŵ a row."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Take weight (N, K) and bias (N,)."""
        super().__init__()
        scale = weight.abs().amax(1).clamp(min=torch.finfo(weight.dtype).tiny) / MOST
        rounded = (weight / scale[:, None]).round().to(torch.int8)
        self.weight = nn.Parameter(rounded, requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """Return (…, N) of x (…, K)."""
        rows = x.reshape(-1, x.shape[-1])
        largest = torch.maximum(rows.amax(1, keepdim=True), -rows.amin(1, keepdim=True))
        scale = largest.clamp_(min=torch.finfo(x.dtype).tiny).div_(MOST)
        rounded = (rows / scale).round_().to(torch.int8)
        found = torch._int_mm(rounded, self.weight.t()).to(x.dtype).mul_(scale).mul_(self.scale)
        if self.bias is not None:
            found += self.bias
        return found.view(*x.shape[:-1], len(self.weight))


def rounded(model: nn.Module) -> nn.Module:
    """Return a copy with linear layers in 8 bits, the head's too; all else is shared with the model."""
    shared = [*model.parameters(), *model.buffers()]
    memo: dict[int, object] = {id(tensor): tensor for tensor in shared}
    with torch.no_grad():
        memo |= {id(layer): _in_eight_bits(layer) for layer in _linear(model)}
    return copy.deepcopy(model, memo)


def _linear(model: nn.Module) -> Iterator[nn.Module]:
    """The layers that are nothing but a product with a matrix."""
    return (layer for layer in model.modules() if type(layer) in (nn.Linear, Conv1D))


def _in_eight_bits(layer: nn.Module) -> Int8Linear:
    """A layer in 8 bits; the weights of GPT-2's layers stand the other way round."""
    weight, bias = cast(Tensor, layer.weight), cast("Tensor | None", layer.bias)
    return Int8Linear(weight.t() if isinstance(layer, Conv1D) else weight, bias)


def chosen(model: nn.Module, asked: SamplingDtype) -> bool:
    """Return whether calls are proposed in 8 bits; KdstError where that was asked for and cannot be."""
    reason = _against(model)
    if asked == "int8" and reason:
        raise KdstError(f"--sampling-dtype int8: {reason}.\nGive auto or same")
    if asked != "auto":
        return asked == "int8"
    size, first = sum(p.numel() for p in model.parameters()), next(model.parameters())
    return size > LARGE and first.dtype == torch.float32 and not reason


def _against(model: nn.Module) -> str:
    """Why a model cannot be computed in 8 bits here; empty where it can."""
    device = next(model.parameters()).device.type
    if device != "cpu":
        return f"it is for a CPU, and the model lies on {device}"
    if not supported():
        return "this CPU has no instructions for products of 8 bits (AVX512-VNNI)"
    if not any(_linear(model)):
        return f"the model {type(model).__name__} has no linear layers of a kind that is known"
    return ""


def supported() -> bool:
    """Return whether the CPU multiplies 8 bits exactly and fast."""
    asked = getattr(torch.cpu, "_is_vnni_supported", None)
    return bool(asked and asked()) and torch.backends.mkldnn.is_available()
