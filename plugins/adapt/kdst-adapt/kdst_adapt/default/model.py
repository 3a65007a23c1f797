"""The small residual network with BatchNorm that classifies the digits."""

from importlib.resources import files
from pathlib import Path

from torch import nn

from kdst_adapt.models.resnet import Normalized, ResNet

WEIGHTS = "digits-resnet8.safetensors"
MEAN, STD = 0.3, 0.37
"""Mean and standard deviation of the training images' pixels."""


def weights_path() -> Path:
    """Return the path of the shipped weights."""
    return Path(str(files("kdst_adapt.default") / WEIGHTS))


def build() -> nn.Module:
    """Return the network without trained weights: images (B, 1, 32, 32) in [0, 1] to logits (B, 10)."""
    net = ResNet(1, 10, in_channels=1, width=16, stem_stride=2)
    return Normalized(net, [MEAN], [STD])


def load() -> nn.Module:
    """Return the trained network in evaluation mode."""
    from safetensors.torch import load_file

    model = build()
    model.load_state_dict(load_file(weights_path()))
    return model.eval()
