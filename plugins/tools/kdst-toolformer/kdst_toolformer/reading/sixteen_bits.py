"""A model whose linear layers multiply in bfloat16, to propose calls and to tell which cannot pass.

Products are summed in float32 and what a layer says is rounded to bfloat16; all between the layers stays
in the model's own precision. So does the head where losses are taken: its logits are large numbers.
"""

import torch
from torch import Tensor, nn

from kdst_toolformer.reading import layers


class Bf16Linear(nn.Module):
    """A linear layer y = x wᵀ + b with x, w and y rounded to bfloat16."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Take weight (N, K) and bias (N,)."""
        super().__init__()
        rounded = weight.to(torch.bfloat16).contiguous()
        self.weight = nn.Parameter(rounded, requires_grad=False)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """Return (…, N) of x (…, K)."""
        found = nn.functional.linear(x.to(torch.bfloat16), self.weight).to(x.dtype)
        if self.bias is not None:
            found += self.bias
        return found


def rounded(model: nn.Module) -> nn.Module:
    """Return a copy with linear layers in bfloat16, but for the head; all else is shared."""
    head: nn.Module | None = getattr(model, "get_output_embeddings", lambda: None)()
    return layers.replaced(model, Bf16Linear, keep=head)


def with_head(model: nn.Module) -> nn.Module:
    """Return a copy of a rounded model whose head is in bfloat16 too; all else is shared."""
    return layers.replaced(model, Bf16Linear)


def against(model: nn.Module) -> str:
    """Why a model cannot be computed in bfloat16 here; empty where it can."""
    reason = layers.against(model)
    if reason or supported():
        return reason
    return "this CPU has no instructions for products in bfloat16 (AVX512-BF16)"


def supported() -> bool:
    """Return whether the CPU multiplies numbers in bfloat16 faster than in float32."""
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(asked and asked()) and torch.backends.mkldnn.is_available()
