"""EfficientNet-Lite0 as its package has it, with fewer passes over memory; logits and weights are the same.

Importing this needs the package `efficientnet-lite-pytorch`.
"""

from typing import Any

import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite_pytorch.model import MBConvBlock
from torch import Tensor, nn

from kdst_adapt.models.normclip import norm_only, norm_relu6


class Block(MBConvBlock):  # type: ignore[misc]  # the package has no types
    """An inverted residual block: expansion 1×1, depthwise convolution, projection 1×1."""

    def forward(self, inputs: Tensor, drop_connect_rate: float | None = None) -> Tensor:
        """(B, in, H, W) to (B, out, H/stride, W/stride)."""
        if self.training:  # drop connect
            trained: Tensor = super().forward(inputs, drop_connect_rate)
            return trained
        args, x = self._block_args, inputs
        if args.expand_ratio != 1:
            x = norm_relu6(self._bn0, self._expand_conv(x), to_convolution=True)
        x = norm_relu6(self._bn1, self._depthwise_conv(x), to_convolution=True)
        x = norm_only(self._bn2, self._project_conv(x))
        same = args.stride == 1 and args.input_filters == args.output_filters
        return x + inputs if self.id_skip and same else x


class Lite(EfficientNet):  # type: ignore[misc]
    """The network of such blocks."""

    def extract_features(self, inputs: Tensor) -> Tensor:
        """Images (B, 3, H, W) to features (B, 1280, H/32, W/32)."""
        x = norm_relu6(self._bn0, self._conv_stem(inputs))
        for number, block in enumerate(self._blocks):
            rate = self._global_params.drop_connect_rate
            x = block(x, drop_connect_rate=rate and rate * number / len(self._blocks))
        return norm_relu6(self._bn1, self._conv_head(x))


def build(name: str) -> nn.Module:
    """Return the network, with weights that are drawn."""
    net: Any = Lite.from_name(name)
    for module in net.modules():
        if type(module) is MBConvBlock:
            module.__class__ = Block
        if isinstance(module, nn.Conv2d):
            _pad(module)
    built: nn.Module = net
    return built


class WideConv2d(nn.Conv2d):
    """A convolution whose kernel is padded by a row and a column of zeros at its upper left.

    With one more pixel of padding on all sides it gives what the kernel alone gives of an image that is
    padded by one pixel less at its upper left than at its lower right, and no padded copy is made.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H', W')."""
        return self._conv_forward(input, F.pad(self.weight, (1, 0, 1, 0)), self.bias)


def _pad(conv: Any) -> None:
    """Let a convolution pad its input itself where it can: padded alike on all sides, or one less above.

    The latter by channel only: over all channels, a larger kernel takes longer than the copy (measured).
    """
    left, right, above, below = getattr(conv.static_padding, "padding", (0, 1, 2, 3))
    wide = right - left == 1 and conv.groups == conv.in_channels
    if (left, right) != (above, below) or not (wide or left == right):
        return
    if wide:
        conv.__class__ = WideConv2d
    conv.padding, conv.static_padding = (right, right), nn.Identity()
