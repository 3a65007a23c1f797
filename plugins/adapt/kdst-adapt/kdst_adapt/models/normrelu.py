"""BatchNorm by the statistics of the batch, an addition and ReLU in two passes over memory each way.

Between its convolutions, adaptation on a CPU waits for memory. torch reads and writes a layer's output
for each of the three, forward and backward; the kernels here go over it once to take sums and once to
write. torch's own operations do the work on other devices and layouts, and on images too small to gain.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST = 1 << 17
"""Values of the smallest images that are worth the kernels; below, torch takes no longer (measured)."""


def norm_relu(norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """Return ReLU(norm(x) + residual) of images (B, C, H, W)."""
    if _fits(norm, x):
        args = (x, norm.weight, norm.bias, residual, norm.eps)
        y, other = _NormReLU.apply(*args)  # type: ignore[no-untyped-call]
        y.twin = other
        result: Tensor = y
        return result
    y = norm(x)
    if transformed():
        return F.relu(y if residual is None else y + residual)
    if residual is not None:
        y += residual  # in place, as no gradient needs what BatchNorm returned
    return F.relu(y, inplace=True)


def transformed() -> bool:
    """Return whether torch.func or forward-mode derivatives are at work, which the kernels do not know."""
    functional: bool = torch._C._are_functorch_transforms_active()
    return functional or torch.autograd.forward_ad._current_level >= 0


def twin(x: Tensor) -> Tensor:
    """Return x for the shortcut around what else x goes to; the values are the same.

    Where `norm_relu` made x, its gradients from the two arrive apart, and are added on the way.
    """
    return getattr(x, "twin", x)


def _fits(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    """Return whether the kernels compute it: CPU, channels last, by the batch, no hook to be called."""
    return (
        x.numel() >= SMALLEST
        and not transformed()  # first, as a layout cannot be asked for there
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and x.is_contiguous(memory_format=torch.channels_last)
        and not x.is_contiguous()
        and type(norm) is nn.BatchNorm2d
        and norm.running_mean is None
        and norm.affine
        and not (norm._forward_hooks or norm._forward_pre_hooks)
    )


class _NormReLU(torch.autograd.Function):
    """ReLU((x - mean) / sqrt(var + eps) · weight + bias + residual), mean and var of each channel.

    It is returned under two names, each of which has a gradient of its own.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor]:
        from kdst_adapt.models import kernels

        ctx.set_materialize_grads(False)
        z, channels = _flat(x), x.shape[1]
        count = len(z) // channels
        pivot = z[:channels]  # a value of each channel, so that a large mean costs no digits
        total = sum(_in_pieces(kernels.moments, pivot[None], z))
        affine = weight.detach().numpy(), bias.detach().numpy()
        statistics = kernels.scales(total, count, pivot, *affine, eps)
        table = statistics.astype(z.dtype)
        y = torch.empty_like(x)
        if residual is None:
            on = None  # follows from z
            _in_pieces(kernels.normalise, table, z, _flat(y))
        else:
            on = torch.empty(len(z), dtype=torch.bool)
            images = _flat(residual), _flat(y), on.numpy()
            _in_pieces(kernels.normalise_added, table, z, *images)
        ctx.save_for_backward(x, on, weight, bias)
        ctx.statistics, ctx.eps = statistics, eps
        return y, y.detach()

    @staticmethod
    def backward(
        ctx: Any, gradient: Tensor | None, other: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        from kdst_adapt.models import kernels

        if torch.is_grad_enabled():  # create_graph: derivatives of this gradient are asked for
            return _differentiable(ctx, gradient, other)
        x, on, _, _ = ctx.saved_tensors
        if gradient is None:
            gradient, other = other, None
        if gradient is None:
            return (None,) * 5
        # overwritten: every layer that these networks have after a ReLU makes a gradient of its own
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        if on is None and other is not None:
            gradient, other = gradient.add_(other), None
        z, g = _flat(x), _flat(gradient)
        count, table = len(z) // x.shape[1], ctx.statistics.astype(z.dtype)
        if on is None:
            total = sum(_in_pieces(kernels.gradients, table, z, g))
        else:
            h = None if other is None else _flat(other)
            total = sum(_in_pieces(kernels.gradients_added, table, z, on.numpy(), g, h))
        table = kernels.slopes(total, count, ctx.statistics).astype(z.dtype)
        if on is None:
            dx, added = gradient, None
            _in_pieces(kernels.back, table, z, g)
        else:
            dx, added = torch.empty_like(x), gradient
            _in_pieces(kernels.back_added, table, z, g, _flat(dx))
        if not any(ctx.needs_input_grad[1:3]):
            return dx, None, None, added, None
        total[1] *= ctx.statistics[3]
        of_bias, of_weight = torch.from_numpy(total).to(x.dtype)
        return dx, of_weight, of_bias, added, None


def _differentiable(
    ctx: Any, gradient: Tensor | None, other: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Return what `_NormReLU.backward` does, by torch's own operations, which have derivatives."""
    given = [g for g in (gradient, other) if g is not None]
    if not given:
        return (None,) * 5
    x, on, weight, bias = ctx.saved_tensors
    g, channels = sum(given[1:], start=given[0]), (1, -1, 1, 1)
    mean = x.mean((0, 2, 3), keepdim=True)
    inverse = ((x - mean).square().mean((0, 2, 3), keepdim=True) + ctx.eps).rsqrt()
    z = (x - mean) * inverse
    if on is None:
        g = g * (z * weight.view(channels) + bias.view(channels) > 0)
    else:
        at = on.view(len(x), *x.shape[2:], x.shape[1])
        g = g * at.permute(0, 3, 1, 2)
    of_bias, of_weight = g.sum((0, 2, 3)), (g * z).sum((0, 2, 3))
    count = x.numel() // x.shape[1]
    pulled = (of_bias.view(channels) + z * of_weight.view(channels)) / count
    dx = weight.view(channels) * inverse * (g - pulled)
    return dx, of_weight, of_bias, None if on is None else g, None


def _flat(x: Tensor) -> np.ndarray:
    """Return the values of images channel by channel, pixel by pixel, (B·H·W·C,); a view if they lie so."""
    return x.detach().permute(0, 2, 3, 1).numpy().reshape(-1)


def _in_pieces(
    kernel: Callable[..., Any], table: np.ndarray, z: np.ndarray, *images: np.ndarray | None
) -> list[Any]:
    """Call a kernel on as many ranges of whole pixels as torch has threads; return what it returns."""
    values, channels, threads = len(z), table.shape[1], torch.get_num_threads()
    size = -(-values // (channels * threads)) * channels
    ranges = [(first, min(first + size, values)) for first in range(0, values, size)]
    if len(ranges) == 1:
        return [kernel(0, values, table, z, *images)]
    jobs = [_pool(threads).submit(kernel, *piece, table, z, *images) for piece in ranges]
    return [job.result() for job in jobs]


@lru_cache(maxsize=8)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kdst-adapt")
