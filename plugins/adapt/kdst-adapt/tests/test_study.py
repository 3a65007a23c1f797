"""The studies: energy against loss and accuracy, separation by energy, generation, calibration."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from sklearn.metrics import roc_auc_score

import kdst_core
from kdst_adapt.baselines.fixed import norm
from kdst_adapt.checks import small_network, small_request
from kdst_adapt.models.norms import use_batch_statistics
from kdst_adapt.streams.shift import Shift
from kdst_adapt.streams.stream import Stream
from kdst_adapt.studies import generation
from kdst_adapt.studies.separation import Separation, auroc
from kdst_adapt.studies.study import correlation
from kdst_authors.testing import make_run
from kdst_core.errors import KdstError
from kdst_core.plugins.method import load


def test_correlation_and_its_interval_are_pearsons_and_fishers() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=20)
    y = 0.5 * x + rng.normal(size=20)
    expected = stats.pearsonr(x, y)
    interval = expected.confidence_interval(0.95)
    found = correlation(list(x), list(y))
    assert found == pytest.approx((expected.statistic, interval.low, interval.high), abs=1e-4)
    assert correlation([1.0] * 5, [1.0, 2, 3, 4, 5]) == (0.0, -1.0, 1.0)


def test_the_energy_study_gives_numbers_and_picture(tmp_path: Path) -> None:
    options = {"images": 60, "types": ["fog", "contrast"], "severity": "4,5"}
    result = kdst_core.run("tent", out=tmp_path / "r", study="energy", **options)
    m = result.metrics
    low, r, high = (m[f"study.correlation.accuracy{k}"] for k in (".low", "", ".high"))
    assert -1 <= low <= r <= high <= 1
    gain = m["accuracy.fog.5"] - m["baseline.norm.accuracy.fog.5"]
    assert m["study.accuracy.fog.5"] == pytest.approx(gain, abs=1e-6)
    loss = m["baseline.norm.nll.fog.5"] - m["nll.fog.5"]
    assert m["study.loss.fog.5"] == pytest.approx(loss, abs=1e-5)
    assert "Reduction of energy and gain of accuracy" in result.report.read_text()
    assert any("reduction of energy with" in line for line in result.summary)


def test_the_calibration_study_gives_the_maximum_error(tmp_path: Path) -> None:
    result = kdst_core.run(
        "norm", out=tmp_path / "r", study="calibration", images=40, types=["fog"]
    )
    assert result.metrics["study.mce.norm"] >= result.metrics["ece.mean"]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [("tent", {"types": ["fog"]}, "needs 4 streams"), ("norm", {}, "does not")],
)
def test_a_study_that_cannot_be_is_refused(
    tmp_path: Path, method: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(KdstError, match=message):
        kdst_core.run(method, out=tmp_path / "r", study="energy", **options)
    assert not (tmp_path / "r").exists()


def test_the_auroc_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    low, high = rng.normal(size=40).round(1), rng.normal(0.5, 1, 60).round(1)
    expected = roc_auc_score([0] * 40 + [1] * 60, np.concatenate([low, high]))
    assert auroc(torch.from_numpy(low), torch.from_numpy(high)) == pytest.approx(expected)


def test_the_energy_study_tells_clean_shifted_and_unrelated_images_apart(tmp_path: Path) -> None:
    options = {"images": 40, "types": ["fog", "contrast"], "severity": "4,5"}
    result = kdst_core.run("tent", out=tmp_path / "r", study="energy", **options)
    m = result.metrics
    for pair in ("clean-shifted", "clean-unrelated", "shifted-unrelated"):
        key = f"study.auroc.{pair}"
        streams = [m[f"{key}.tent.{s}"] for s in result.data["input"]["shifts"]]
        assert m[f"{key}.tent.mean"] == pytest.approx(np.mean(streams))
        gain = m[f"{key}.tent.mean"] - m[f"{key}.norm.mean"]
        assert m[f"{key}.gain"] == pytest.approx(gain)
        assert m[f"{key}.gain.low"] <= gain <= m[f"{key}.gain.high"]
    assert "Telling clean, shifted and unrelated images apart" in result.report.read_text()


def test_energies_are_those_of_the_adapted_network(tmp_path: Path) -> None:
    x = torch.rand(30, 3, 8, 8)
    shift = Shift("fog", 5, x.movedim(1, -1).numpy(), np.arange(30) % 5)
    stream = Stream([shift], 30, "stored", "shift", 0)
    probe = Separation(stream=stream, kinds={"unrelated": shift})
    tent = load("tent")
    adapted = tent.call(small_request(), tent.description.options(lr=0.1), make_run(tmp_path))
    adapted.predict(x)
    probe.measure(0, {"norm": norm(small_network(), "cpu"), "tent": adapted})
    expected = -adapted.logits(x).logsumexp(1)
    assert torch.allclose(probe.found["tent.shifted.fog.5"], expected)
    assert torch.equal(probe.found["norm.unrelated"], probe.found["norm.shifted.fog.5"])
    assert not torch.allclose(probe.found["norm.unrelated"], expected)


def test_sampling_raises_the_density_of_the_class_it_is_asked_for() -> None:
    model = small_network()
    use_batch_statistics(model)
    labels = torch.arange(5).repeat_interleave(4)
    generator = torch.Generator().manual_seed(0)
    images = generation.sample(model, labels, (3, 8, 8), generator)
    start = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))

    def density(x: torch.Tensor) -> float:
        with torch.no_grad():
            return model(x).gather(1, labels[:, None]).mean().item()

    assert density(images) > density(start)
    assert images.min() >= 0
    assert images.max() <= 1
    again = generation.sample(model, labels, (3, 8, 8), torch.Generator().manual_seed(0))
    assert torch.equal(images, again)


def test_the_generation_study_gives_images_and_their_energies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "STEPS", 3)
    options = {"images": 40, "types": ["fog", "contrast"]}
    result = kdst_core.run("tent", out=tmp_path / "r", study="generation", **options)
    for name in ("before", "fog.5", "contrast.5"):
        assert 0 <= result.metrics[f"study.generation.recognised.{name}"] <= 1
        assert result.metrics[f"study.generation.energy.error.{name}"] > 0
    with Image.open(tmp_path / "r/artifacts/generation.png") as picture:
        assert picture.size == (10 * 34 - 2, 10 * 34 - 2)
    assert "Images drawn from the model, by class" in result.report.read_text()


def test_a_method_that_hides_its_network_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(KdstError, match="needs an attribute `model`"):
        Separation().check({"mine": object()})  # type: ignore[dict-item]


def test_images_of_another_shape_or_kind_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.zeros(4, int))
    options = {"study": "energy", "severity": "1-5", "types": ["fog"], "images": 40}
    for value, message in ((f"npz:{tmp_path}/d.npz", "1×8×8"), ("digits", "npz:FILE or folder")):
        with pytest.raises(KdstError, match=message):
            kdst_core.run("tent", out=tmp_path / "r", clean=value, **options)
    assert not (tmp_path / "r").exists()
