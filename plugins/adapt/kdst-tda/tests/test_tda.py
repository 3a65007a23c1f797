"""TDA as an algorithm: against a plain rendering of it, and what its caches keep."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdst_adapt.models.clip import Clip
from kdst_adapt.testing import batches, network, prepare, request
from kdst_authors.testing import check_plugin, make_run
from kdst_tda import Options, adapt
from kdst_tda.cache import Cache

Item = tuple[float, Tensor, Tensor]


def plain_cache(cache: dict[int, list[Item]], label: int, item: Item, capacity: int) -> None:
    """Take an item in: where there is room, or in place of the most uncertain of its class."""
    items = cache.setdefault(label, [])
    if len(items) < capacity:
        items.append(item)
    elif item[0] < items[-1][0]:
        items[-1] = item
    items.sort(key=lambda i: i[0])


def plain_sum(cache: dict[int, list[Item]], f: Tensor, beta: float) -> Any:
    """What a cache says of a feature."""
    items = [i for label in sorted(cache) for i in cache[label]]
    return sum(math.exp(-beta * (1 - float(f @ key))) * value for _, key, value in items)


def plain_tda(model: nn.Module, stream: list[Tensor], published: bool) -> list[Tensor]:
    """The logits of a stream, an image at a time."""
    model, _ = prepare(model, batch=False)
    *body, head = model.children()
    positive: dict[int, list[Item]] = {}
    negative: dict[int, list[Item]] = {}
    out = []
    for x in stream:
        for image in x:
            feature = nn.Sequential(*body)(image[None])[0].detach()
            logits = head(feature).detach()
            f = feature / feature.norm()
            p = torch.exp(logits) / torch.exp(logits).sum()
            h = -float((p * torch.log(p)).sum())
            label = int(logits.argmax())
            one = torch.zeros_like(p)
            one[label] = 1
            plain_cache(positive, label, (h, f, one), 3)
            if 0.2 < h / (math.log2(5) if published else math.log(5)) < 0.5:
                mask = torch.tensor([float(0.03 < v < 1) for v in p], dtype=p.dtype)
                plain_cache(negative, label, (h, f, mask), 2)
            logits = logits + 2 * plain_sum(positive, f, 5) - 0.117 * plain_sum(negative, f, 1)
            out.append(logits)
    return out


@pytest.mark.parametrize("profile", ["published", "corrected"])
def test_tda_equals_a_plain_rendering_in_float64(tmp_path: Path, profile: Any) -> None:
    model, stream = network(), batches(4)
    tda: Any = adapt(request(model), Options(profile=profile), make_run(tmp_path))
    ours = torch.cat([tda.predict(x) for x in stream])
    theirs = torch.stack(plain_tda(model, stream, profile == "published"))
    assert (ours - theirs).abs().max() < 1e-10
    source = prepare(model, batch=False)[0](torch.cat(stream))
    assert (ours - source).abs().max() > 1e-2
    assert tda.negative.entropies.isfinite().any(), "the negative cache is tried"


def test_the_cut_of_a_stream_into_batches_does_not_matter(tmp_path: Path) -> None:
    stream = torch.cat(batches(2))
    whole = adapt(request(network()), Options(), make_run(tmp_path)).predict(stream)
    single = adapt(request(network()), Options(), make_run(tmp_path))
    apart = torch.cat([single.predict(x[None]) for x in stream])
    assert torch.allclose(whole, apart, atol=1e-12)


def test_a_cache_keeps_the_most_certain_of_a_class() -> None:
    cache = Cache(2, 2, 3, torch.zeros(1, dtype=torch.float64))
    key = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    value = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert not cache.logits(key, 5.0).any(), "an empty one says nothing"
    for uncertainty in (0.5, 0.3, 0.9, 0.1, math.nan):
        cache.add(1, uncertainty * key, uncertainty, value)
    assert cache.entropies.tolist() == [[math.inf, math.inf], [0.1, 0.3]]
    expected = math.exp(-5 * 0.9) + math.exp(-5 * 0.7)
    assert cache.logits(key, 5.0).tolist() == pytest.approx([0, expected])


class Tower(nn.Module):
    """An image tower whose features are the means of the channels."""

    def forward(self, pixel_values: Tensor) -> Any:
        pooled = pixel_values.mean((2, 3))
        return type("Output", (), {"pooler_output": pooled})


def test_a_clip_like_model_is_corrected_by_its_own_features(tmp_path: Path) -> None:
    net: Any = nn.Module()
    net.vision_model, net.visual_projection = Tower(), nn.Linear(3, 4).double()
    net.logit_scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    vision = type("Vision", (), {"image_size": 8})
    net.config = type("Config", (), {"vision_config": vision})
    text = nn.functional.normalize(torch.randn(5, 4, dtype=torch.float64), dim=1)
    model = Clip(net, text, [*"abcde"], (0.5,) * 3, (0.25,) * 3).double()
    x = batches(1)[0]
    options = Options(capacity=1, alpha=3.0, negative_alpha=0.0)
    tda: Any = adapt(request(model), options, make_run(tmp_path))
    first = tda.predict(x[:1])[0]
    logits = model(x[:1])[0].detach()
    assert float((first - logits).max()) == pytest.approx(3.0), "it is its own nearest"
    label = int(logits.argmax())
    assert torch.allclose(tda.positive.keys[label, 0], model.image_features(x[:1])[0].detach())


def test_tda_conforms() -> None:
    check_plugin("tda")
