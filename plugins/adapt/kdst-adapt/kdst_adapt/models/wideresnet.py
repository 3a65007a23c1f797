"""The wide residual network of Zagoruyko and Komodakis (2016) for 32×32 images."""

from torch import Tensor, nn

from kdst_adapt.models.normrelu import norm_relu


class WideBlock(nn.Module):
    """BatchNorm, ReLU and a 3×3 convolution, twice; a 1×1 shortcut where the width changes."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        same = in_planes == planes
        self.convShortcut = None if same else nn.Conv2d(in_planes, planes, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_planes, H, W) to (B, planes, H/stride, W/stride)."""
        active = norm_relu(self.bn1, x)
        out: Tensor = self.conv2(norm_relu(self.bn2, self.conv1(active)))
        return out + (x if self.convShortcut is None else self.convShortcut(active))


class Group(nn.Module):
    """A stage of blocks; its name in state dicts is that of the public networks, `block1.layer.0`."""

    def __init__(self, blocks: int, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        rest = (WideBlock(planes, planes, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(WideBlock(in_planes, planes, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_planes, H, W) to (B, planes, H/stride, W/stride)."""
        out: Tensor = self.layer(x)
        return out


class WideResNet(nn.Module):
    """Depth 6n + 4 and a widening factor; layers are named as in the public state dicts."""

    def __init__(self, depth: int = 28, widen: int = 10, num_classes: int = 10) -> None:
        super().__init__()
        blocks, width = (depth - 4) // 6, 16 * widen
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.block1 = Group(blocks, 16, width, 1)
        self.block2 = Group(blocks, width, 2 * width, 2)
        self.block3 = Group(blocks, 2 * width, 4 * width, 2)
        self.bn1 = nn.BatchNorm2d(4 * width)
        self.fc = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to logits (B, num_classes)."""
        out = self.block3(self.block2(self.block1(self.conv1(x))))
        out = norm_relu(self.bn1, out)
        logits: Tensor = self.fc(out.mean((2, 3)))
        return logits
