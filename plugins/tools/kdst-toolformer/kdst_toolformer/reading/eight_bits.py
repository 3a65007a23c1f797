"""A model whose linear layers compute in 8 bits, for calls that are only proposed.

Weights have a scale a row, activations a scale a token, both symmetric; products are summed exactly in
integers. So what a layer says of a token depends on no other token of the batch.
"""

import torch
from torch import Tensor, nn

from kdst_toolformer.reading import layers

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
    return layers.replaced(model, Int8Linear)


def against(model: nn.Module) -> str:
    """Why a model cannot be computed in 8 bits here; empty where it can."""
    reason = layers.against(model)
    if reason or supported():
        return reason
    return "this CPU has no instructions for products of 8 bits (AVX512-VNNI)"


def supported() -> bool:
    """Return whether the CPU multiplies 8 bits exactly and fast."""
    asked = getattr(torch.cpu, "_is_vnni_supported", None)
    return bool(asked and asked()) and torch.backends.mkldnn.is_available()
