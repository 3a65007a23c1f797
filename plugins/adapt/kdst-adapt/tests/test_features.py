"""Penultimate features of any classifier that has them."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from kdst_adapt.checks import small_batches, small_network
from kdst_adapt.models.clip import Clip
from kdst_adapt.models.features import Penultimate
from kdst_core.errors import KdstError


class Tower(nn.Module):
    """Stands for an image tower: its pooled output is the mean of each channel."""

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(pooler_output=pixel_values.mean((2, 3)))


class Aside(nn.Module):
    """A classifier that calls a layer of its number of classes after its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.aside = small_network(), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x) / 2
        self.aside(-logits)
        return logits


def clip() -> Clip:
    """A CLIP-like classifier of five classes with eight features."""
    g = torch.Generator().manual_seed(0)
    projection = nn.Linear(3, 8, bias=False)
    projection.weight.data = torch.rand(8, 3, generator=g)
    net = SimpleNamespace(
        vision_model=Tower(),
        visual_projection=projection,
        logit_scale=torch.tensor(2.0),
        config=SimpleNamespace(vision_config=SimpleNamespace(image_size=8)),
    )
    text = nn.functional.normalize(torch.randn(5, 8, generator=g), dim=1)
    return Clip(net, text, list("abcde"), [0.0] * 3, [1.0] * 3)


def test_features_are_the_input_of_the_layer_that_gives_the_logits() -> None:
    x = small_batches(1)[0]
    for model in (small_network(), Aside()):
        net = getattr(model, "net", model)
        with torch.no_grad():
            net[-1].weight.mul_(100)
            model.aside.weight.copy_(torch.eye(5)) if isinstance(model, Aside) else None
            kept = Penultimate(model, x, 5)
            model(x)
            assert kept.size == 8
            assert torch.equal(kept.take(), net[:-1](x))


def test_a_clip_like_model_has_its_projected_images() -> None:
    model, x = clip(), small_batches(1)[0]
    kept = Penultimate(model, x, 5)
    model(x)
    features = kept.take()
    assert features.shape == (8, kept.size) == (8, 8)
    assert torch.allclose(nn.functional.normalize(features, dim=1), model.image_features(x))


def test_a_model_that_ends_otherwise_has_none() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(KdstError, match="no penultimate features"):
        Penultimate(model, small_batches(1)[0], 5)
