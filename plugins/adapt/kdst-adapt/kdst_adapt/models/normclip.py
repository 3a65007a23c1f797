"""BatchNorm by the statistics of the batch, and ReLU6 where it follows, in two passes each way.

As `normrelu` does it for ReLU; the gradient that arrives is left as it is, since an addition hands the
same one to both of its sides, unless what follows is said to be a convolution alone.
"""

from math import inf
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdst_adapt.models.normrelu import _fits, _flat, _in_pieces

TOP = 6.0
NOTHING = (None,) * 4
"""The gradients of what is no tensor."""


def norm_relu6(norm: nn.BatchNorm2d, x: Tensor, *, to_convolution: bool = False) -> Tensor:
    """Return ReLU6(norm(x)) of images (B, C, H, W).

    to_convolution: whether it goes into one convolution and nowhere else, whose gradient is its own and
    may be overwritten.
    """
    return _applied(norm, x, 0.0, TOP, to_convolution) if _fits(norm, x) else F.relu6(norm(x))


def norm_only(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Return norm(x) of images (B, C, H, W)."""
    result: Tensor = _applied(norm, x, -inf, inf) if _fits(norm, x) else norm(x)
    return result


def _applied(
    norm: nn.BatchNorm2d, x: Tensor, low: float, high: float, overwrite: bool = False
) -> Tensor:
    """Return norm(x) within bounds, by the kernels; overwrite: the gradient that arrives."""
    args = (x, norm.weight, norm.bias, norm.eps, low, high, overwrite)
    result: Tensor = _NormClip.apply(*args)  # type: ignore[no-untyped-call]
    return result


class _NormClip(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) · weight + bias within bounds, mean and var of each channel."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        low: float,
        high: float,
        overwrite: bool,
    ) -> Tensor:
        from kdst_adapt.models import clipkernels, kernels

        z, channels = _flat(x), x.shape[1]
        pivot = z[:channels]  # a value of each channel, so that a large mean costs no digits
        total = sum(_in_pieces(kernels.moments, pivot[None], z))
        affine = weight.detach().numpy(), bias.detach().numpy()
        ctx.statistics = kernels.scales(total, len(z) // channels, pivot, *affine, eps)
        ctx.bounds = np.repeat([[low], [high]], channels, 1)
        ctx.eps, ctx.overwrite = eps, overwrite
        y = torch.empty_like(x)
        table = np.concatenate([ctx.statistics, ctx.bounds]).astype(z.dtype)
        _in_pieces(clipkernels.clip, table, z, _flat(y))
        ctx.save_for_backward(x, weight, bias)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from kdst_adapt.models import clipkernels, kernels

        x = ctx.saved_tensors[0]
        if torch.is_grad_enabled():  # create_graph: derivatives of this gradient are asked for
            return (*_differentiable(ctx, gradient), *NOTHING)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        z, g = _flat(x), _flat(gradient)
        table = np.concatenate([ctx.statistics, ctx.bounds]).astype(z.dtype)
        total = sum(_in_pieces(clipkernels.clipped_gradients, table, z, g))
        slopes = kernels.slopes(total, len(z) // x.shape[1], ctx.statistics)
        table = np.concatenate([slopes, ctx.bounds]).astype(z.dtype)
        if ctx.overwrite:
            dx = gradient
            _in_pieces(clipkernels.clipped_back_over, table, z, g)
        else:
            dx = torch.empty_like(x)
            _in_pieces(clipkernels.clipped_back, table, z, g, _flat(dx))
        if not any(ctx.needs_input_grad[1:3]):
            return dx, None, None, *NOTHING
        total[1] *= ctx.statistics[3]
        of_bias, of_weight = torch.from_numpy(total).to(x.dtype)
        return dx, of_weight, of_bias, *NOTHING


def _differentiable(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients of input, weight and bias by torch's own operations, which have derivatives."""
    x, weight, bias = (
        t if t.requires_grad else t.detach().requires_grad_() for t in ctx.saved_tensors
    )
    y = F.batch_norm(x, None, None, weight, bias, True, 0, ctx.eps)
    low, high = ctx.bounds[:, 0].tolist()
    if high < inf:
        y = F.hardtanh(y, low, high)
    return torch.autograd.grad(y, (x, weight, bias), gradient, create_graph=True)
