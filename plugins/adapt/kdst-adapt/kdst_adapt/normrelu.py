"""BatchNorm by the statistics of the batch, an addition and ReLU in one pass over memory each way.

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
        y: Tensor = _NormReLU.apply(*args)  # type: ignore[no-untyped-call]
        return y
    y = norm(x)
    if residual is not None:
        y += residual  # in place, as no gradient needs what BatchNorm returned
    return F.relu(y, inplace=True)


def _fits(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    """Return whether the kernels compute it: CPU, channels last, by the batch, no hook to be called."""
    return (
        x.numel() >= SMALLEST
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
    """ReLU((x - mean) / sqrt(var + eps) · weight + bias + residual), mean and var of each channel."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, eps: float
    ) -> Tensor:
        from kdst_adapt import kernels

        z, channels = _flat(x), x.shape[1]
        count = len(z) // channels
        pivot = z[:channels]  # a value of each channel, so that a large mean costs no digits
        first, second = sum(_in_pieces(kernels.moments, [pivot], z)) / count
        mean, variance = pivot + first, second - first**2
        inverse = 1 / np.sqrt(variance + eps)
        scale = weight.detach().numpy() * inverse
        shift = bias.detach().numpy() - mean * scale
        y = torch.empty_like(x)
        if residual is None:
            on = None  # follows from z
            _in_pieces(kernels.normalise, [scale, shift], z, _flat(y))
        else:
            on = torch.empty(len(z), dtype=torch.bool)
            images = _flat(residual), _flat(y), on.numpy()
            _in_pieces(kernels.normalise_added, [scale, shift], z, *images)
        ctx.save_for_backward(x, on)
        ctx.statistics = mean, inverse, scale, shift
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from kdst_adapt import kernels

        x, on = ctx.saved_tensors
        mean, inverse, scale, shift = ctx.statistics
        z, count = _flat(x), x.numel() // x.shape[1]
        # overwritten: every layer that these networks have after a ReLU makes a gradient of its own
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        g = _flat(gradient)
        if on is None:
            first, second = sum(_in_pieces(kernels.gradients, [scale, shift, mean], z, g))
        else:
            first, second = sum(_in_pieces(kernels.gradients_added, [mean], z, on.numpy(), g))
        slope = -scale * inverse**2 * second / count
        offset = -scale * first / count - slope * mean
        if on is None:
            dx, added = gradient, None
            _in_pieces(kernels.back, [scale, shift, slope, offset], z, g)
        else:
            dx, added = torch.empty_like(x), gradient
            _in_pieces(kernels.back_added, [scale, slope, offset], z, g, _flat(dx))
        of_weight, of_bias = (torch.from_numpy(v).to(x.dtype) for v in (second * inverse, first))
        return dx, of_weight, of_bias, added, None


def _flat(x: Tensor) -> np.ndarray:
    """Return the values of images channel by channel, pixel by pixel, (B·H·W·C,); a view if they lie so."""
    return x.detach().permute(0, 2, 3, 1).reshape(-1).numpy()


def _in_pieces(
    kernel: Callable[..., Any], table: list[np.ndarray], z: np.ndarray, *images: np.ndarray
) -> list[Any]:
    """Call a kernel on as many ranges of whole pixels as torch has threads; return what it returns."""
    rows = np.empty((len(table), len(table[0])), z.dtype)
    for row, values in zip(rows, table, strict=True):
        row[:] = values
    channels, threads = rows.shape[1], torch.get_num_threads()
    size = -(-len(z) // (channels * threads)) * channels
    ranges = [(first, min(first + size, len(z))) for first in range(0, len(z), size)]
    if len(ranges) == 1:
        return [kernel(0, len(z), rows, z, *images)]
    jobs = [_pool(threads).submit(kernel, *piece, rows, z, *images) for piece in ranges]
    return [job.result() for job in jobs]


@lru_cache(maxsize=8)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kdst-adapt")
