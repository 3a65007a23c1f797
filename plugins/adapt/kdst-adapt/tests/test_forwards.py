"""Forwards that do more than give logits: they keep state, look at other images, or compute elsewhere."""

import itertools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import kdst_core
from kdst_adapt.audit import forwards
from kdst_adapt.audit import model as audit_model
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.measures import Trace
from kdst_adapt.models import classifier
from kdst_adapt.models.norms import adaptable_copy
from kdst_adapt.outcome import alarms
from kdst_core.errors import KdstError

RNG = np.random.default_rng(9)
DATA = RNG.random((12, 8, 8, 3)).astype(np.float32), RNG.integers(0, 4, 12)
X = torch.from_numpy(DATA[0]).permute(0, 3, 1, 2)
NUMBER = itertools.count()
NORM = nn.BatchNorm2d


class Net(nn.Module):
    """A network of one normalisation layer; `change` is what its forward does to the logits."""

    def __init__(
        self,
        change: Callable[[Any, Tensor], Tensor] = lambda net, z: z,
        norm: Callable[[int], nn.Module] = NORM,
    ) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3), norm(6), nn.Linear(6, 4)
            self.register_buffer("calls", torch.zeros(()))
            self.register_buffer("mean", torch.zeros(4))
            if getattr(self.norm, "running_mean", None) is not None:
                self.norm.running_mean.normal_()
        self.change = change
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        features = self.norm(self.conv(x)).relu().mean((2, 3))
        return self.change(self, self.head(features))


def run(method: str, model: nn.Module, where: Path, **options: Any) -> kdst_core.Result:
    """A run on random images in batches of 4."""
    options = {"data": DATA, "batch_size": 4, "threads": 1, **options}
    return kdst_core.run(method, model=model, out=where / f"r{next(NUMBER)}", **options)


def counting(net: Any, z: Tensor) -> Tensor:
    """Logits that grow with every call."""
    net.calls += 1
    return z * net.calls


def centred(net: Any, z: Tensor) -> Tensor:
    """Logits around a running mean of logits, which is a new tensor after every call."""
    net.mean = 0.9 * net.mean + 0.1 * z.detach().mean(0)
    return z - net.mean * 0 if net.calls else z


@pytest.mark.parametrize(("change", "name"), [(counting, "calls"), (centred, "mean")])
def test_buffers_that_a_forward_changes_are_put_back(
    tmp_path: Path, change: Callable[[Any, Tensor], Tensor], name: str
) -> None:
    found, plain = run("tent", Net(change), tmp_path), run("tent", Net(), tmp_path)
    for key in ("nll.mean", "baseline.norm.nll.mean", "baseline.source.nll.mean"):
        assert found.metrics[key] == plain.metrics[key]
    assert any(f"changes its buffers ({name})" in w for w in found.warnings)
    assert not any("buffers" in w for w in plain.warnings)


def test_kept_buffers_have_gradients_and_come_back_after_an_error() -> None:
    net = Net(lambda net, z: net.calls.add_(1) * z)
    forwards.keep_buffers(net, forwards.changed_buffers(net, X[:2]))
    clone = adaptable_copy(net, "cpu").requires_grad_(True)
    clone(X).sum().backward()
    assert clone.head.weight.grad is not None
    with pytest.raises(RuntimeError):
        clone(X[:, :2])
    assert clone.calls == net.calls == 0


class Trains(Net):
    """A network that puts itself into training mode."""

    def forward(self, x: Tensor) -> Tensor:
        self.norm.train()
        return super().forward(x)


@pytest.mark.parametrize(
    "model",
    [
        lambda: Net(norm=lambda c: nn.BatchNorm2d(c, track_running_stats=False)),
        lambda: Net(lambda net, z: z - z.mean(0)),
        Trains,
    ],
)
def test_logits_that_depend_on_other_images_are_named(
    tmp_path: Path, model: Callable[[], nn.Module]
) -> None:
    found = run("source", model(), tmp_path)
    assert any("depend on the other images" in w for w in found.warnings)
    assert not any("depend on the other" in w for w in run("source", Net(), tmp_path).warnings)


def test_sigmoids_are_named_and_single_logits_refused(tmp_path: Path) -> None:
    found = run("norm", Net(lambda net, z: z.sigmoid()), tmp_path)
    assert any("as after a sigmoid" in w for w in found.warnings)
    with pytest.raises(KdstError, match="one for each class"):
        run("norm", Net(lambda net, z: z[:, :1]), tmp_path, data=(DATA[0], DATA[1] * 0))


@pytest.mark.parametrize("method", ["norm", "tent"])
def test_a_forward_put_on_from_outside_is_refused(tmp_path: Path, method: str) -> None:
    model = Net()
    inner = model.forward
    model.forward = lambda x: inner(x)  # type: ignore[method-assign]
    with pytest.raises(KdstError, match="copies of it do not hold"):
        run(method, model, tmp_path)


def test_weights_without_values_are_refused() -> None:
    with pytest.raises(KdstError, match="device meta"):
        classifier.load(AdaptInputs(), Net().to("meta"))


class ByName(nn.Module):
    """A network that gives its layers their input by name; its norm layer sees one value a channel."""

    def __init__(self, **how: Any) -> None:
        super().__init__()
        self.conv, self.norm, self.head = (
            nn.Conv2d(3, 6, 8),
            nn.BatchNorm1d(6, **how),
            nn.Linear(6, 4),
        )
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(input=self.conv(x).flatten(1)))


@pytest.mark.parametrize("method", ["source", "memo"])
def test_layers_that_get_their_input_by_name_adapt_to_single_images(
    tmp_path: Path, method: str
) -> None:
    options = {"augmentations": 2} if method == "memo" else {}
    assert run(method, ByName(), tmp_path, batch_size=1, **options).metrics["nll.mean"] > 0


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("source", {"batch_size": 1}),
        ("tent", {"batch_size": 1, "window": 4}),
        ("memo", {"augmentations": 2}),
    ],
)
def test_a_single_image_without_any_statistics_is_refused(
    tmp_path: Path, method: str, options: dict[str, int]
) -> None:
    with pytest.raises(KdstError, match="keeps none of training"):
        run(method, ByName(track_running_stats=False), tmp_path, **options)


def test_a_window_that_adds_nothing_is_named(tmp_path: Path) -> None:
    assert any("adds nothing" in w for w in run("norm", Net(), tmp_path, window=4).warnings)
    assert not any("adds nothing" in w for w in run("norm", Net(), tmp_path, window=5).warnings)


def test_images_of_a_study_that_is_not_asked_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KdstError, match="--unrelated is for --study energy"):
        run("tent", Net(), tmp_path, unrelated="npz:a.npz")


def trace(correct: list[int]) -> Trace:
    """A trace of one stream with these images right."""
    made = Trace()
    made.begin()
    record = torch.zeros(len(correct), 3, 5)
    record[..., 1] = torch.tensor(correct)[:, None]
    made.add(record)
    return made


def test_chance_everywhere_is_an_alarm_on_streams_that_no_audit_can_try() -> None:
    from kdst_adapt import measures

    assert measures.CORRECT == 1
    chance, good = [1, *[0] * 9] * 4000, [1] * 40000
    (told,) = alarms.chance({"source": trace(chance), "norm": trace(chance)}, 10)
    assert "near chance (10.0%): 10.0%, 10.0% right" in told
    assert not alarms.chance({"source": trace(chance), "norm": trace(good)}, 10)
    assert not alarms.chance({"source": trace([0, 0, 1]), "norm": trace([0, 0, 0])}, 10)


def test_permuted_labels_are_noticed_where_there_are_no_clean_images(tmp_path: Path) -> None:
    digits = {"data": "digits", "types": ["fog"], "batch_size": 100, "threads": 1}
    good = kdst_core.run("norm", out=tmp_path / "a", images=200, **digits)
    assert not any("near chance" in w for w in good.warnings)
    place = tmp_path / "c"
    place.mkdir()
    from kdst_adapt.default import data as digits_data

    images, labels = digits_data.load(train=False)
    np.save(place / "fog.npy", np.repeat(np.round(images[:200] * 255).astype(np.uint8), 5, 0))
    shifted = np.repeat((labels[:200] + 1) % 10, 5)
    np.save(place / "labels.npy", shifted)
    from kdst_adapt.default.model import load

    found = kdst_core.run(
        "norm",
        model=load(),
        data=f"cifar10-c:{place}",
        batch_size=100,
        threads=1,
        out=tmp_path / "b",
    )
    assert any("near chance" in w for w in found.warnings)


def test_a_model_stored_by_name_brings_its_normalisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=4
    )
    place = tmp_path / "hub" / "models--some--net" / "snapshots" / "1"
    transformers.ResNetForImageClassification(config).save_pretrained(place)
    content = {"image_mean": [0.3, 0.3, 0.3], "image_std": [0.2, 0.2, 0.2]}
    (place / "preprocessor_config.json").write_text(json.dumps(content))
    (tmp_path / "hub" / "models--some--net" / "refs").mkdir()
    (tmp_path / "hub" / "models--some--net" / "refs" / "main").write_text("1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    model = classifier.load(AdaptInputs(model="transformers:some/net"))
    assert math.isclose(float(model.mean.flatten()[0]), 0.3, rel_tol=1e-6)
    assert not audit_model._is_bare(model)
    shutil.copytree(place, tmp_path / "bare", ignore=lambda *_: ["preprocessor_config.json"])
    assert audit_model._is_bare(
        classifier.load(AdaptInputs(model=f"transformers:{tmp_path / 'bare'}"))
    )


class Spy(nn.Module):
    """Keeps all values that it is given."""

    seen: ClassVar[set[float]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        Spy.seen.update(x.unique().tolist())
        return self.norm(x).mean((2, 3))


def test_the_audit_shows_a_model_images_of_the_stream_only(tmp_path: Path) -> None:
    images = np.full((8, 8, 8, 3), 0.25, np.float32)
    images[:, 2, 3] = 0.75
    run("tent", Spy(), tmp_path, data=(images, np.arange(8) % 3), mean=[0.0], std=[1.0])
    assert {0.25, 0.75} <= Spy.seen
    assert 1.0 not in Spy.seen
