"""Settings of a stream: gradual, mixed, label-correlated, imbalanced, windowed; and the alarms."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import kdst_core
from kdst_adapt.audit.batches import largest_batch
from kdst_adapt.baselines import fixed
from kdst_adapt.checks import small_batches, small_network
from kdst_adapt.measures import Trace
from kdst_adapt.outcome.alarms import warnings
from kdst_adapt.streams import settings as stream_settings
from kdst_adapt.streams.shift import Shift
from kdst_adapt.streams.stream import Stream
from kdst_adapt.streams.window import Windowed
from kdst_core.errors import KdstError


def shift(name: str = "fog", severity: int = 5, count: int = 60) -> Shift:
    images = np.random.default_rng(severity).random((count, 8, 8, 3)).astype(np.float32)
    return Shift(name, severity, images, np.arange(count) % 5)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(5, 80),
    concentration=st.sampled_from([0.01, 0.3, 10.0]),
    seed=st.integers(0, 9),
)
def test_a_correlated_stream_is_a_permutation(count: int, concentration: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    rows = stream_settings.correlated(labels, np.arange(count), concentration, rng)
    assert sorted(rows) == list(range(count))


def test_small_concentration_brings_classes_together() -> None:
    labels = np.arange(1000) % 10

    def changes(concentration: float) -> int:
        rng = np.random.default_rng(0)
        rows = stream_settings.correlated(labels, np.arange(1000), concentration, rng)
        return int((np.diff(labels[rows]) != 0).sum())

    assert changes(0.01) < changes(10.0) <= 100


def test_imbalance_is_the_ratio_of_the_commonest_to_the_rarest_class() -> None:
    labels = np.arange(1000) % 10
    rows = stream_settings.imbalanced(labels, np.arange(1000), 10.0, np.random.default_rng(0))
    counts = np.sort(np.bincount(labels[rows]))
    assert (counts[0], counts[-1]) == (10, 100)
    assert np.allclose(counts[1:] / counts[:-1], 10 ** (1 / 9), rtol=0.1)
    assert (np.diff(rows) > 0).all()


def test_gradual_goes_up_and_down_and_resets_between_types() -> None:
    shifts = [shift(n, s) for s in range(1, 6) for n in ("fog", "snow")]
    arranged = stream_settings.arrange(shifts, "gradual")
    assert [s.severity for s in arranged] == [1, 2, 3, 4, 5, 4, 3, 2, 1] * 2
    assert len({s.key for s in arranged}) == 18
    stream = Stream(arranged, 20, "stored", "shift", 0)
    assert [n for n in range(18) if stream.begins(n)] == [9]
    with pytest.raises(KdstError, match="--severity 1-5"):
        stream_settings.arrange(shifts[:2], "gradual")


def test_mixed_batches_hold_the_images_of_every_shift() -> None:
    parts = [shift("fog", 1), shift("snow", 2, 40)]
    (mixed,) = stream_settings.arrange(parts, "mixed")
    stream = Stream([mixed], 20, "stored", "shift", 3)
    rows = np.concatenate(stream.rows(mixed))
    assert sorted(rows) == list(range(100))
    x, y = mixed.batch(rows[:20])
    for row, image, label in zip(rows[:20], x, y, strict=True):
        part, at = (parts[0], row) if row < 60 else (parts[1], row - 60)
        expected, right = part.batch(np.array([at]))
        assert torch.equal(image, expected[0])
        assert label == right[0]
    assert any(r < 60 for r in rows[:20])
    assert any(r >= 60 for r in rows[:20])


@pytest.mark.parametrize("setting", [{"dirichlet": 0.1}, {"imbalance": 5.0}])
def test_streams_depend_on_the_seed_and_on_nothing_else(setting: dict[str, float]) -> None:
    def rows(seed: int, severity: int) -> list[int]:
        stream = Stream([], 20, "stored", "shift", seed, **setting)
        return list(np.concatenate(stream.rows(shift("fog", severity))))

    assert rows(1, 5) == rows(1, 2)
    assert rows(1, 5) != rows(2, 5)


def test_a_window_gives_single_images_the_statistics_of_those_before() -> None:
    model, x = small_network(), torch.cat(small_batches(2))
    windowed = Windowed(fixed.norm(model, "cpu"), 8)
    logits = torch.cat([windowed.predict(image[None]) for image in x])
    norm = fixed.norm(model, "cpu")
    for k in range(8, 16):
        assert torch.allclose(logits[k], norm.predict(x[k - 7 : k + 1])[-1], atol=1e-6)
    assert windowed.diagnostics.before_update.shape == (1, 5)
    windowed.reset()
    assert torch.equal(windowed.predict(x[:1]), logits[:1])


def test_a_window_continues_from_its_state() -> None:
    model, x = small_network(), torch.cat(small_batches(2))
    first, second = (Windowed(fixed.norm(model, "cpu"), 6) for _ in range(2))
    for image in x[:9]:
        first.predict(image[None])
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.predict(x[9:10]), second.predict(x[9:10]))


def test_single_images_run_with_an_alarm_and_better_with_a_window(tmp_path: Path) -> None:
    options = {"images": 20, "types": ["fog"], "batch_size": 1}
    alone = kdst_core.run("norm", out=tmp_path / "a", **options)
    assert any("--window" in w for w in alone.warnings)
    result = kdst_core.run("tent", out=tmp_path / "b", window=16, **options)
    assert result.metrics["updates"] == 20
    assert result.metrics["accuracy.mean"] > 0.3


def vectors() -> nn.Module:
    """A network whose BatchNorm has one value a channel for an image."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Flatten(), nn.Linear(48, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)]
    return nn.Sequential(*layers).eval()


def test_an_image_without_statistics_takes_those_of_training(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((12, 4, 4, 3)).astype(np.float32)
    options = {"model": vectors(), "data": (images, np.arange(12) % 3), "batch_size": 1}
    found = kdst_core.run("source", out=tmp_path / "a", **options).metrics
    assert found["baseline.norm.nll.mean"] == pytest.approx(found["nll.mean"])
    result = kdst_core.run("tent", out=tmp_path / "b", window=4, **options)
    assert result.metrics["updates"] == 12
    assert any("come" in w and "alone" in w for w in result.warnings)


def test_every_setting_runs(tmp_path: Path) -> None:
    common = {"types": ["fog"], "images": 40, "batch_size": 20}
    for name, options in {
        "gradual": {"setting": "gradual", "severity": "1-5"},
        "mixed": {"setting": "mixed", "severity": "1,5"},
        "tail": {"imbalance": 4.0, "dirichlet": 0.1},
    }.items():
        result = kdst_core.run("tent", out=tmp_path / name, **common, **options)
        seen = result.data["input"]["images_per_shift"]
        assert seen == {"gradual": [40] * 9, "mixed": [80], "tail": seen}[name]
    assert seen[0] < 40


def trace(updates: int, **scalars: list[float]) -> Trace:
    records = [torch.zeros(10, 3, 5) for _ in range(20)]
    for r in records:
        r[:, :, 4] = torch.arange(10)[:, None] % 5
    named = {k.replace("_", " "): v for k, v in scalars.items()}
    return Trace([records], [0.1] * 20, updates, {}, named)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (trace(0), "made no update at all"),
        (trace(1), "in only 1 of 20 batches"),
        (trace(20, share_kept=[0.0] * 20), "dropped every image"),
        (trace(20, share_kept=[1.0] * 20), "never dropped an image"),
        (trace(20, resets=[1.0] * 3), "reset itself 3 times"),
    ],
)
def test_alarms(made: Trace, message: str) -> None:
    found = warnings(made, [shift()], "m", updates=True, batch_norm=True, largest=50, twin="")
    assert len(found) == 1
    assert message in found[0]


def test_a_short_stream_is_no_batch_of_the_size_that_was_asked_for() -> None:
    few = Stream([shift(count=3)], 200, "stored", "shift", 0)
    assert largest_batch(few, None) == 3
    assert largest_batch(Stream([shift()], 4, "stored", "shift", 0), 16) == 16


def test_no_alarm_without_a_reason() -> None:
    quiet = trace(20, share_kept=[0.4, 1.0], resets=[0.0, 1.0])
    assert warnings(quiet, [shift()], "m", updates=True, batch_norm=True, largest=50, twin="") == []


def test_tiny_batches_raise_an_alarm_only_with_batch_norm() -> None:
    for batch_norm in (True, False):
        found = warnings(
            trace(20), [shift()], "m", updates=True, batch_norm=batch_norm, largest=4, twin=""
        )
        assert len(found) == batch_norm
