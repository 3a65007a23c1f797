"""The audit of a run: what it finds of order and labels, and where it shows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import kdst_core
from kdst_adapt.audit import data as of_data
from kdst_adapt.audit import source as audit_source
from kdst_adapt.audit.findings import Finding
from kdst_adapt.measures import near_chance
from kdst_adapt.streams.shift import Shift
from kdst_adapt.streams.stream import Stream


def network(classes: int = 10) -> nn.Module:
    """A network with one BatchNorm layer and random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, classes)).eval()


def stream(labels: np.ndarray, order: str = "stored") -> Stream:
    """A stream of labels in batches of 10."""
    images = np.zeros((len(labels), 4, 4, 3), np.uint8)
    return Stream([Shift("fog", 5, images, labels)], 10, order, "shift", 0)


def order(found: list[Finding]) -> Finding:
    """The finding on the order of a stream."""
    return next(f for f in found if f.what == "order")


def test_a_stream_in_class_order_is_named_and_a_shuffled_one_is_not() -> None:
    labels = np.repeat(np.arange(10), 20)
    told = order(of_data.of_stream(stream(labels), 10))
    assert told.state == "warning"
    assert "fog.5 hold 1.0 of 10 classes" in told.sentence
    assert order(of_data.of_stream(stream(labels, "shuffled"), 10)).state == "ok"


@pytest.mark.parametrize("in_order", [True, False])
def test_two_classes_in_order_are_named_too(in_order: bool) -> None:
    labels = np.arange(80) // 41 if in_order else np.random.default_rng(0).permutation(80) % 2
    assert (order(of_data.of_stream(stream(labels), 2)).state == "warning") is in_order


@pytest.mark.parametrize("classes", [1, 1000])
def test_batches_that_cannot_hold_more_classes_are_no_fault(classes: int) -> None:
    assert order(of_data.of_stream(stream(np.arange(100) % classes), 1000)).state == "ok"


def test_audit_goes_into_result_warnings_and_report(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(5), 8)
    images = np.random.default_rng(0).random((40, 8, 8, 3)).astype(np.float32)
    result = kdst_core.run(
        "norm", model=network(), data=(images, labels), batch_size=8, out=tmp_path
    )
    found: list[dict[str, Any]] = result.data["audit"]
    assert {f["state"] for f in found} <= {"ok", "mended", "warning"}
    told = [f["sentence"] for f in found if f["state"] != "ok"]
    assert told
    assert set(told) <= set(result.warnings)
    assert "Audit" in result.report.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("severity", "corruption", "kind"),
    [(0, None, "clean"), (5, ("fog", 5), "clean"), (1, None, "mildly shifted")],
)
def test_images_that_source_is_tried_on_are_called_what_they_are(
    severity: int, corruption: tuple[str, int] | None, kind: str
) -> None:
    images = np.zeros((20, 4, 4, 3), np.uint8)
    shift = Shift("fog", severity, images, np.arange(20) % 10, corruption)
    found = audit_source._clean([shift])
    assert found is not None
    assert found[2] == kind


@pytest.mark.parametrize(
    ("hits", "count", "classes", "near"),
    [
        (0, 20, 10, True),
        (0, 12, 4, True),
        (3, 32, 10, True),
        (0, 4, 10, False),
        (20, 32, 10, False),
    ],
)
def test_chance_is_told_from_as_few_images_as_can_tell_it(
    hits: int, count: int, classes: int, near: bool
) -> None:
    assert near_chance(hits, count, 1 / classes) is near


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_divided_twice_are_named(dtype: type) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3)).astype(np.uint8)
    dark = whole // 255 if dtype is np.uint8 else (whole / 255 / 255).astype(dtype)
    for images, state in ((whole, "ok"), (dark, "warning")):
        (found,) = of_data.of_pixels([Shift("clean", 0, images, np.arange(20) % 2)])
        assert found.state == state
    assert "nearly black" in found.sentence


def outcome(losses: np.ndarray, hits: np.ndarray) -> audit_source.Outcome:
    """What a network makes of images."""
    return audit_source.Outcome(losses.astype(np.float64), hits.astype(bool))


def test_a_small_gain_in_likelihood_on_clean_images_is_noticed() -> None:
    rng = np.random.default_rng(0)
    losses, hits = rng.exponential(0.9, 128), rng.random(128) < 0.8
    now = outcome(losses, hits)
    better_hits = hits.copy()
    better_hits[np.flatnonzero(~hits)[:4]] = True
    other = outcome(losses - 0.2 + rng.normal(0, 0.5, 128), better_hits)
    assert audit_source._is_better(now, other, clean=True)
    assert not audit_source._is_better(now, other, clean=False)
    assert not audit_source._is_better(other, now, clean=True)
    assert not audit_source._is_better(now, outcome(losses - 0.01, better_hits), clean=True)
    assert not audit_source._is_better(now, outcome(losses - 0.2, hits), clean=True)
