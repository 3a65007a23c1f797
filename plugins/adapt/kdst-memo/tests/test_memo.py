"""memo does what it claims, and conforms."""

import copy
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import kdst_core
from kdst_adapt.augmix import OPERATIONS, augment
from kdst_adapt.checks import small_batches, small_network, small_request
from kdst_adapt.testing import batches, network, request
from kdst_authors.testing import make_run, parametrize_checks
from kdst_core.bench.contract import Check
from kdst_core.errors import KdstError
from kdst_memo import Options, adapt


def mixed(net: nn.Module, prior: float) -> nn.Module:
    """A copy in which BatchNorm keeps, after each forward pass, the mixture of the paper."""
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            mean, variance = module.running_mean.clone(), module.running_var.clone()

            def mix(
                norm: nn.BatchNorm2d,
                inputs: tuple[Tensor],
                mean: Tensor = mean,
                variance: Tensor = variance,
            ) -> None:
                x = inputs[0].detach()
                norm.running_mean = (prior * mean + x.mean((0, 2, 3))) / (prior + 1)
                norm.running_var = (prior * variance + x.var((0, 2, 3))) / (prior + 1)

            module.register_forward_pre_hook(mix)
    return net


@pytest.mark.parametrize("steps", [1, 2])
def test_memo_equals_algorithm_1_written_out_in_float64(tmp_path: Path, steps: int) -> None:
    options = Options(augmentations=6, lr=0.05, steps=steps, strength=3, flip=True)
    source, x = network(batch=False), batches(1, 4)[0].clamp(0, 1)
    ours = adapt(request(source), options, make_run(tmp_path)).predict(x)
    generator = torch.Generator().manual_seed(3)
    for number, image in enumerate(x):
        net = mixed(source, options.prior)
        for _ in range(steps):
            copies = augment(image, 6, generator, severity=3, flip=True)
            p = net(copies).softmax(1).mean(0)
            gradients = torch.autograd.grad(-(p * p.log()).sum(), list(net.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(net.parameters(), gradients, strict=True):
                    parameter -= 0.05 * gradient
        with torch.no_grad():
            assert torch.allclose(ours[number], net(image[None])[0], rtol=0, atol=1e-10)


def test_an_image_is_predicted_as_if_it_were_alone(tmp_path: Path) -> None:
    images = small_batches(1)[0]
    together = adapt(small_request(), Options(augmentations=4), make_run(tmp_path)).predict(images)
    predictor = adapt(small_request(), Options(augmentations=4), make_run(tmp_path))
    alone = torch.cat([predictor.predict(image[None]) for image in images])
    assert torch.equal(together, alone)


def test_an_update_lowers_the_marginal_entropy_it_is_made_on(tmp_path: Path) -> None:
    image = batches(1)[0][:1].clamp(0, 1)

    def loss(steps: int) -> float:
        options = Options(augmentations=64, lr=0.05, steps=steps)
        predictor = adapt(request(network(batch=False)), options, make_run(tmp_path))
        predictor.predict(image)
        return predictor.diagnostics.scalars["loss"]

    assert loss(8) < loss(1) - 0.1


def test_with_an_infinite_prior_the_reading_before_the_update_is_the_source_model(
    tmp_path: Path,
) -> None:
    images = small_batches(1)[0]
    options = Options(augmentations=2, prior=float("inf"))
    predictor = adapt(small_request(), options, make_run(tmp_path))
    predictor.predict(images)
    expected = small_network()(images)
    assert torch.allclose(predictor.diagnostics.before_update, expected, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(2, 33),
    width=st.integers(2, 33),
    channels=st.sampled_from([1, 3]),
    severity=st.floats(0.1, 10),
    flip=st.booleans(),
)
def test_augmentations_of_any_image_stay_in_range_and_follow_the_generator(
    seed: int, height: int, width: int, channels: int, severity: float, flip: bool
) -> None:
    image = torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed))
    first, second = (
        augment(image, 5, torch.Generator().manual_seed(seed), severity=severity, flip=flip)
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert first.shape == (5, channels, height, width)
    assert first.dtype == image.dtype
    assert first.min() >= -1e-6
    assert first.max() <= 1 + 1e-6


@pytest.mark.parametrize("number", range(len(OPERATIONS)))
def test_every_operation_changes_a_picture_and_works_on_each_copy_alone(number: int) -> None:
    pictures = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.9
    level = torch.tensor([0.4, -0.7, 1.0])[:, None, None, None]
    together = OPERATIONS[number](pictures, level)
    alone = [OPERATIONS[number](pictures[i : i + 1], level[i : i + 1]) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)
    assert not torch.allclose(together, pictures, atol=1e-2)


def test_constant_pictures_survive_the_operations_of_the_histogram() -> None:
    flat = torch.full((1, 3, 8, 8), 0.5)
    for operation in OPERATIONS[:2]:
        assert torch.equal(operation(flat, torch.ones(1, 1, 1, 1)), flat)


@parametrize_checks("memo")
def test_conforms(check: Check) -> None:
    check.run()


def test_statistics_of_training_alone_are_a_value_of_prior(tmp_path: Path) -> None:
    options = {"images": 2, "types": ["fog"], "augmentations": 2, "lr": 0.0}
    result = kdst_core.run("memo", out=tmp_path / "r", prior="inf", **options)
    text = (tmp_path / "r" / "result.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["options"]["prior"] == "inf"
    assert result.metrics["nll.mean"] == pytest.approx(result.metrics["baseline.source.nll.mean"])
    with pytest.raises(KdstError, match="finite"):
        kdst_core.run("memo", out=tmp_path / "s", lr="inf", images=2)
