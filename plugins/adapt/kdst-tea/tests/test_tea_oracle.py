"""TEA and norm against recorded runs of the published code."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kdst_adapt.baselines import fixed
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.models import classifier
from kdst_core.contracts import AdaptRequest
from kdst_tea import Options
from kdst_tea.method import Tea


@pytest.fixture
def shared() -> Path:
    """The folder of recorded runs and real data."""
    folder = os.environ.get("KDST_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("KDST_TEST_DATA names no folder of recorded runs")
    return Path(folder)


def resnet20(shared: Path) -> torch.nn.Module:
    weights = shared / "data/cifar10-jpeg/resnet20-12fca82f.th"
    return classifier.load(AdaptInputs(model="resnet20", weights=weights))


class Recorded:
    """Recorded draws in the order in which the published code made them."""

    def __init__(self, file: "np.lib.npyio.NpzFile", batches: int) -> None:
        self.buffer = torch.from_numpy(file["buffer_before"])
        self.calls: list[Tensor] = [self.buffer]
        for b in range(batches):
            noise = torch.from_numpy(file[f"b{b}/noise"])
            names = ("randint", "init_random", "rand")
            self.calls += [torch.from_numpy(file[f"b{b}/{n}"]) for n in names]
            self.calls += list(noise)

    def take(self, shape: tuple[int, ...]) -> Tensor:
        value = self.calls.pop(0)
        assert value.shape == shape
        return value.clone()

    def uniform(
        self, shape: tuple[int, ...], dtype: torch.dtype, low: float, high: float
    ) -> Tensor:
        return self.take(shape).to(dtype)

    def integers(self, high: int, count: int) -> Tensor:
        return self.take((count,)).long()

    def fractions(self, count: int) -> Tensor:
        return self.take((count,))

    def normal(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return self.take(shape).to(dtype)


class ReplayedTea(Tea):
    """TEA with recorded draws in place of its generator's."""

    recorded: Recorded

    def begin(self) -> None:
        self.draws = self.recorded  # type: ignore[assignment]
        super().begin()


def test_tea_reproduces_the_published_run_in_float64(shared: Path) -> None:
    with np.load(shared / "oracles/adapt/tea_f64.npz") as file:
        x = torch.from_numpy(file["x"]).double()
        ReplayedTea.recorded = Recorded(file, 2)
        size = len(file["b0/logits"])
        request = AdaptRequest(resnet20(shared).double(), 10, (3, 32, 32), torch.Generator())
        tea = ReplayedTea(request, Options(buffer_size=len(file["buffer_before"])))
        names = [n for n, p in tea.model.named_parameters() if p.requires_grad]
        for b in range(2):
            logits = tea.predict(x[b * size : (b + 1) * size])
            assert np.abs(logits.numpy() - file[f"b{b}/logits"]).max() < 1e-10
            for name, parameter in zip(names, tea.parameters, strict=True):
                expected = file[f"b{b}/p/{name}"]
                assert np.abs(parameter.detach().numpy() - expected).max() < 1e-10
        assert np.abs(tea.buffer.numpy() - file["b1/buffer_after"]).max() < 1e-10
        assert not tea.draws.calls  # type: ignore[attr-defined]


def test_norm_reproduces_the_published_run(shared: Path) -> None:
    with np.load(shared / "oracles/adapt/norm.npz") as file:
        x = torch.from_numpy(file["x"])
        norm = fixed.norm(resnet20(shared), "cpu")
        size = len(file["b0/logits"])
        for b in range(2):
            expected = file[f"b{b}/logits"]
            logits = norm.predict(x[b * size : (b + 1) * size]).numpy()
            assert np.linalg.norm(logits - expected) / np.linalg.norm(expected) < 1e-6
            double = fixed.norm(resnet20(shared).double(), "cpu")
            exact = double.predict(x[b * size : (b + 1) * size].double()).numpy()
            assert np.linalg.norm(exact - expected) / np.linalg.norm(expected) < 1e-6
