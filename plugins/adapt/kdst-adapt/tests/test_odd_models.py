"""Models that are refused in a line, or run with a word: what a forward may do beside logits."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import kdst_core
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.models import classifier
from kdst_core.errors import KdstError

RNG = np.random.default_rng(6)
DATA = RNG.random((12, 8, 8, 3)).astype(np.float32), RNG.integers(0, 4, 12)
NUMBER = itertools.count()


def net(norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
    """A network of one normalisation layer that has seen other statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = [nn.Conv2d(3, 6, 3), norm(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        made = nn.Sequential(*layers, nn.Linear(6, 4)).eval()
        if isinstance(made[1], nn.BatchNorm2d):
            made[1].running_mean.normal_()  # type: ignore[union-attr]
    return made


def run(tmp_path: Path, method: str, model: nn.Module, **options: Any) -> kdst_core.Result:
    """A run on random images in batches of 4."""
    out = tmp_path / f"r{next(NUMBER)}"
    options = {"batch_size": 4, "threads": 1, **options}
    return kdst_core.run(method, model=model, data=DATA, out=out, **options)


class Wrapped(nn.Module):
    """A network behind a forward of its own."""

    def __init__(self, change: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.net, self.change = net(), change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.net, x)


def test_a_model_that_writes_into_its_input_leaves_the_batch_to_the_others(tmp_path: Path) -> None:
    def change(inner: nn.Module, x: Tensor) -> Tensor:
        x -= 0.5
        return inner(x)

    found = run(tmp_path, "tent", Wrapped(change))
    right = run(tmp_path, "tent", Wrapped(lambda inner, x: inner(x - 0.5)))
    for key in ("nll.mean", "baseline.norm.nll.mean", "baseline.source.nll.mean"):
        assert found.metrics[key] == right.metrics[key]
    assert any("gets copies" in w for w in found.warnings)
    assert not any("gets copies" in w for w in right.warnings)


@pytest.mark.parametrize("mean", [[], [0.5]])
def test_of_several_outputs_the_logits_are_taken_with_a_word(
    tmp_path: Path, mean: list[float]
) -> None:
    options = {"mean": mean, "std": mean}
    right = run(tmp_path, "tent", Wrapped(lambda inner, x: inner(x)), **options)
    for change in (
        lambda inner, x: (inner(x), -inner(x)),
        lambda inner, x: {"features": x, "logits": inner(x)},
    ):
        found = run(tmp_path, "tent", Wrapped(change), **options)
        assert found.metrics["nll.mean"] == right.metrics["nll.mean"]
        assert any("several outputs" in w for w in found.warnings)
    with pytest.raises(KdstError, match=r"tuple \(2, 3, 8, 8\), \(2, 4\)"):
        run(tmp_path, "tent", Wrapped(lambda inner, x: (x, inner(x))))


class OwnStatistics(nn.BatchNorm2d):
    """A layer that reads its statistics itself."""

    def forward(self, input: Tensor) -> Tensor:
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias)


@torch.no_grad()
def without_gradients(inner: nn.Module, x: Tensor) -> Tensor:
    """Logits that no parameter learns from."""
    return inner(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: torch.jit.trace(net(), torch.rand(2, 3, 8, 8)), "compiled by torch.jit"),
        (lambda: Wrapped(without_gradients), "depend on no parameter"),
        (lambda: Wrapped(lambda inner, x: inner(x).softmax(1)), "probabilities"),
        (lambda: net(OwnStatistics), "fails when BatchNorm takes"),
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d()), "cannot be copied"),
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), "lazy layers without weights"),
        (
            lambda: Wrapped(lambda inner, x: inner(x).to(torch.complex64)),
            "floats, it returned comp",
        ),
        (lambda: Wrapped(lambda inner, x: (9 * inner(x)).long()), "floats, it returned int64"),
    ],
)
def test_models_that_cannot_be_adapted_are_refused_before_work(
    tmp_path: Path, model: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises(KdstError, match=message):
        run(tmp_path, "tent", model())


class Answer(NamedTuple):
    """Logits beside something else."""

    logits: Tensor
    features: Tensor | None = None


@pytest.mark.parametrize(
    "change",
    [
        lambda inner, x: inner(x).squeeze(),
        lambda inner, x: Answer(inner(x)),
        lambda inner, x: SimpleNamespace(logits=inner(x).squeeze()),
    ],
)
def test_logits_in_other_wrappings_are_taken_also_of_one_image(
    tmp_path: Path, change: Callable[[nn.Module, Tensor], Any]
) -> None:
    found = run(tmp_path, "tent", Wrapped(change), batch_size=1)
    plain = run(tmp_path, "tent", net(), batch_size=1)
    assert found.metrics["nll.mean"] == pytest.approx(plain.metrics["nll.mean"], abs=1e-6)


def test_what_torch_compiled_is_taken_from_its_wrapping(tmp_path: Path) -> None:
    model = classifier.load(AdaptInputs(), torch.compile(net()))
    assert isinstance(model, nn.Sequential)


def test_logits_without_measure_have_a_report(tmp_path: Path) -> None:
    found = run(tmp_path, "norm", Wrapped(lambda inner, x: 1e30 * inner(x)))
    assert Path(found.report).is_file()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda inner, x: F.dropout(inner(x), 0.5), "other logits each time"),
        (lambda inner, x: inner(x).log_softmax(1), "log-probabilities"),
    ],
)
def test_models_whose_logits_are_not_what_they_seem_are_named(
    tmp_path: Path, change: Callable[[nn.Module, Tensor], Tensor], word: str
) -> None:
    found, again = (run(tmp_path, "norm", Wrapped(change)) for _ in range(2))
    assert any(word in w for w in found.warnings)
    assert found.metrics["nll.mean"] == again.metrics["nll.mean"], "drawn from the seed"
    assert not any(word in w for w in run(tmp_path, "norm", net()).warnings)


def test_a_classifier_of_transformers_from_python_gives_its_logits(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=4
    )
    model = transformers.ResNetForImageClassification(config).eval()
    found = run(tmp_path, "tent", model, lr=0.0)
    assert found.metrics["updates"] == 3
    assert found.metrics["nll.mean"] == pytest.approx(found.metrics["baseline.norm.nll.mean"])


@pytest.mark.filterwarnings("ignore")
def test_source_runs_on_quantised_layers(tmp_path: Path) -> None:
    small = torch.ao.quantization.quantize_dynamic(net(), {nn.Linear}, dtype=torch.qint8)
    found = run(tmp_path, "source", small)
    plain = run(tmp_path, "source", net())
    assert found.metrics["nll.mean"] == pytest.approx(plain.metrics["nll.mean"], abs=0.05)
    assert found.data["input"]["model_digest"] != plain.data["input"]["model_digest"]
