"""The CIFAR residual networks of He et al. (2016), section 4.2, with parameter-free shortcuts."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdst_adapt.models.normrelu import norm_relu, transformed, twin

DEPTHS = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9}
"""Residual blocks in each of the three stages."""


class Block(nn.Module):
    """Two 3×3 convolutions; the shortcut subsamples and pads channels with zeros (option A)."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.stride = stride
        self.padding = (planes - in_planes) // 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_planes, H, W) to (B, planes, H/stride, W/stride)."""
        x, short = self._fork(x)
        out = norm_relu(self.bn1, self.conv1(x))
        return norm_relu(self.bn2, self.conv2(out), short)

    def _fork(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return x for the convolutions, and what the shortcut makes of it."""
        if self.stride == 1 and self.padding == 0:
            return x, twin(x)
        if transformed():
            pad = (0, 0, 0, 0, self.padding, self.padding)
            return x, F.pad(x[:, :, :: self.stride, :: self.stride], pad)
        x, short = _Subsample.apply(x, self.stride, self.padding)  # type: ignore[no-untyped-call]
        return x, short


class _Subsample(torch.autograd.Function):
    """Images, and of them every `stride`-th pixel with `padding` channels of zeros on each side.

    Slicing and padding do the same; this makes one tensor forward, and none backward, where the gradient
    of the few pixels is added to that of all.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int, padding: int) -> tuple[Tensor, Tensor]:
        ctx.stride, ctx.channels = stride, slice(padding, padding + x.shape[1])
        kept = x[:, :, ::stride, ::stride]
        last = x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        batch, channels, height, width = kept.shape
        shape = (batch, channels + 2 * padding, height, width)
        y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout).zero_()
        y[:, ctx.channels] = kept
        return x, y

    @staticmethod
    def backward(ctx: Any, dx: Tensor, g: Tensor) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():  # derivatives of this gradient are asked for
            return dx + _spread(g[:, ctx.channels], dx, ctx.stride), None, None
        # overwritten: a convolution makes a gradient of its own
        dx[:, :, :: ctx.stride, :: ctx.stride] += g[:, ctx.channels]
        return dx, None, None


def _spread(g: Tensor, like: Tensor, stride: int) -> Tensor:
    """Return a gradient of every `stride`-th pixel as one of all pixels, zero elsewhere."""
    every = torch.zeros_like(like)
    every[:, :, ::stride, ::stride] = g
    return every


class ResNet(nn.Module):
    """A 3×3 stem, three stages of `blocks` blocks, global average pooling, a linear classifier.

    The published networks have 3 input channels, width 16 and stem stride 1.
    """

    def __init__(
        self,
        blocks: int,
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        width: int = 16,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stem_stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self._stage(blocks, width, width, 1)
        self.layer2 = self._stage(blocks, width, 2 * width, 2)
        self.layer3 = self._stage(blocks, 2 * width, 4 * width, 2)
        self.linear = nn.Linear(4 * width, num_classes)

    @staticmethod
    def _stage(blocks: int, in_planes: int, planes: int, stride: int) -> nn.Sequential:
        first = Block(in_planes, planes, stride)
        return nn.Sequential(first, *(Block(planes, planes, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to logits (B, num_classes)."""
        out = norm_relu(self.bn1, self.conv1(x))
        out = self.layer3(self.layer2(self.layer1(out)))
        logits: Tensor = self.linear(out.mean((2, 3)))
        return logits


class Normalized(nn.Module):
    """A classifier behind the normalisation of its inputs, (x - mean) / std by channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] to logits (B, num_classes)."""
        logits: Tensor = self.net((x - self.mean) / self.std)
        return logits
