"""The residual networks of He et al. (2016) for ImageNet, layers named as in the public state dicts.

torchvision, timm and RobustBench share these names. The stride of a bottleneck is in its 3×3
convolution, as in all three.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from kdst_adapt.models.normrelu import norm_relu, twin

LAYERS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
"""Residual blocks in each of the four stages; from 50 layers on the blocks are bottlenecks."""
SHALLOW = ("resnet18", "resnet34")


class Basic(nn.Module):
    """Two 3×3 convolutions; a 1×1 shortcut where size or width changes."""

    expansion = 1

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = shortcut(in_planes, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_planes, H, W) to (B, planes, H/stride, W/stride)."""
        out = norm_relu(self.bn1, self.conv1(x))
        short = twin(x) if self.downsample is None else self.downsample(x)
        return norm_relu(self.bn2, self.conv2(out), short)


class Bottleneck(nn.Module):
    """A 1×1, a 3×3 and a 1×1 convolution to four times the width."""

    expansion = 4

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        wide = self.expansion * planes
        self.conv1 = nn.Conv2d(in_planes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.downsample = shortcut(in_planes, wide, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_planes, H, W) to (B, 4·planes, H/stride, W/stride)."""
        out = norm_relu(self.bn1, self.conv1(x))
        out = norm_relu(self.bn2, self.conv2(out))
        short = twin(x) if self.downsample is None else self.downsample(x)
        return norm_relu(self.bn3, self.conv3(out), short)


def shortcut(in_planes: int, planes: int, stride: int) -> nn.Module | None:
    """Return a 1×1 convolution with BatchNorm, or None where the input already fits."""
    if stride == 1 and in_planes == planes:
        return None
    return nn.Sequential(
        nn.Conv2d(in_planes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
    )


class ImageNetResNet(nn.Module):
    """A 7×7 stem with pooling, four stages, global average pooling, a linear classifier."""

    def __init__(self, name: str, num_classes: int = 1000) -> None:
        super().__init__()
        block = Basic if name in SHALLOW else Bottleneck
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        stages, width = [], 64
        for number, blocks in enumerate(LAYERS[name]):
            planes = 64 << number
            first = block(width, planes, 1 if number == 0 else 2)
            width = block.expansion * planes
            stages.append(
                nn.Sequential(first, *(block(width, planes, 1) for _ in range(blocks - 1)))
            )
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to logits (B, num_classes)."""
        out = norm_relu(self.bn1, self.conv1(x))
        out = F.max_pool2d(out, 3, 2, 1)
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        logits: Tensor = self.fc(out.mean((2, 3)))
        return logits
