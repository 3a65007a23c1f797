"""The studies: energy against loss and accuracy, and calibration."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import kdst_core
from kdst_adapt.study import correlation
from kdst_core.errors import KdstError


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
