"""ZERO as an algorithm: against a plain rendering of it, its ties, and its views."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kdst_adapt.testing import batches, network, prepare, request
from kdst_adapt.views import RATIOS, box, views
from kdst_authors.testing import check_plugin, make_run
from kdst_zero import Options, adapt
from kdst_zero.method import FLOOR, vote


def plain_vote(logits: Tensor, gamma: float) -> list[float]:
    """Votes at a temperature of next to nothing; ties broken by the views that were left out."""
    rows = [row.tolist() for row in logits]

    def uncertainty(row: list[float]) -> float:
        total = sum(math.exp(v) for v in row)
        return -sum(math.exp(v) / total * math.log(math.exp(v) / total) for v in row)

    rows.sort(key=uncertainty)
    kept = max(1, int(len(rows) * gamma))
    p_bar = torch.zeros(len(rows[0]), dtype=torch.float64)
    for row in rows[:kept]:
        p_bar += (torch.tensor(row, dtype=torch.float64) / 1e-13).softmax(0)
    ties = [c for c, v in enumerate(p_bar.tolist()) if v == float(p_bar.max())]
    if len(ties) > 1:
        winner = ties[0]
        for row in rows[kept:]:
            if row.index(max(row)) in ties:
                winner = row.index(max(row))
                break
        p_bar[winner] += 1
    return (p_bar / p_bar.sum()).tolist()


@pytest.mark.parametrize("gamma", [0.3, 0.1, 1.0])
def test_zero_equals_a_plain_rendering_in_float64(tmp_path: Path, gamma: float) -> None:
    model = network()
    zero: Any = adapt(request(model), Options(views=10, gamma=gamma), make_run(tmp_path))
    source, generator = prepare(model, batch=False)[0], torch.Generator().manual_seed(3)
    for x in batches(3, size=4):
        ours = zero.predict(x)
        for image, logits in zip(x, ours, strict=True):
            seen = views(image, 10, generator, 0.08, flip=True)
            expected = torch.tensor(plain_vote(source(seen).detach(), gamma), dtype=torch.float64)
            assert (logits.exp() - FLOOR - expected).abs().max() < 1e-10


def test_ties_go_to_the_class_of_the_next_most_confident_view() -> None:
    sure, less, least = 9.0, 6.0, 1.0
    logits = torch.tensor([[sure, 0, 0], [0, less, 0], [0, 0, 3.0], [0, least, 0]])
    assert vote(logits, 0.5).tolist() == pytest.approx([1 / 3, 2 / 3, 0])
    assert vote(logits[:2], 1.0).tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert vote(logits, 0.01).tolist() == [1, 0, 0], "one view at least"


def test_views_are_the_image_and_crops_of_it() -> None:
    image = batches(1)[0][0]
    generator = torch.Generator().manual_seed(0)
    seen = views(image, 5, generator, 1.0, flip=False)
    assert torch.equal(seen[0], image)
    assert seen.shape == (5, *image.shape)
    assert seen.min() >= image.min()
    assert seen.max() <= image.max()
    ramp = torch.arange(8.0, dtype=torch.float64).expand(1, 8, 8)
    crops = views(ramp, 40, generator, 0.3, flip=True)[1:]
    rising = [bool(c[0, 4, -1] > c[0, 4, 0]) for c in crops]
    assert 5 < sum(rising) < 35, "some are mirrored"
    plain = views(ramp, 40, generator, 0.3, flip=False)[1:]
    assert all(c[0, 4, -1] > c[0, 4, 0] for c in plain)


def test_crops_have_the_area_and_ratio_that_is_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        x, y, w, h = box(30, 40, generator, 0.25)
        assert abs(x) + w <= 1 + 1e-9
        assert abs(y) + h <= 1 + 1e-9
        assert w * h >= 0.25 - 1e-9
        if (w, h) != (1, 1):
            assert RATIOS[0] - 1e-9 <= w * 40 / (h * 30) <= RATIOS[1] + 1e-9


def test_zero_conforms() -> None:
    check_plugin("zero")
