"""The fused loss and optimiser against scikit-image, plain torch and torch.optim."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from kdst_3dgs.adam import VisibleAdam
from kdst_3dgs.loss import photometric_loss
from kdst_3dgs.reference import photometric_loss_reference


def images(seed: int, height: int, width: int):
    """A smooth random image and a noisy copy, (H, W, 3) float32 in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 4, 4, generator=generator)
    size = (height, width)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")[0].permute(1, 2, 0)
    noise = 0.1 * torch.randn(height, width, 3, generator=generator)
    return smooth.contiguous(), (smooth + noise).clamp(0, 1)


def test_ssim_is_that_of_scikit_image():
    x, y = images(0, 60, 47)
    reference = structural_similarity(
        x.numpy().astype(np.float64),
        y.numpy().astype(np.float64),
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
    )
    assert 1 - photometric_loss(x, y, dssim_weight=1.0).item() == pytest.approx(reference, abs=2e-5)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(16, 45),
    width=st.integers(16, 45),
    weight=st.sampled_from([0.0, 0.2, 1.0]),
    threads=st.sampled_from([1, 2]),
)
def test_value_and_gradient_match_float64_torch(seed, height, width, weight, threads):
    x, y = images(seed, height, width)
    x.requires_grad_()
    value = photometric_loss(x, y, weight, threads)
    value.backward()
    exact = x.detach().double().requires_grad_()
    expected = photometric_loss_reference(exact, y.double(), weight)
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), abs=3e-5)
    assert (x.grad - exact.grad).norm() <= 2e-3 * exact.grad.norm()


def test_images_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match="20×10; the loss needs at least 16×16"):
        photometric_loss(torch.zeros(10, 20, 3), torch.zeros(10, 20, 3))


@pytest.mark.parametrize("shape", [(50,), (50, 3), (50, 16, 3)])
def test_every_row_visible_is_torch_adam(shape):
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(shape, generator=generator).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    fused = VisibleAdam([ours], lr=0.01, threads=2)
    plain = torch.optim.Adam([theirs], lr=0.01, eps=1e-15)
    for _ in range(20):
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        fused.step()
        plain.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_unseen_gaussians_and_their_state_do_not_move():
    parameter = torch.ones(4, 3, requires_grad=True)
    optimizer = VisibleAdam([parameter], lr=0.1)
    parameter.grad = torch.ones(4, 3)
    optimizer.step(torch.tensor([True, False, True, False]))
    assert torch.allclose(parameter[:, 0], torch.tensor([0.9, 1.0, 0.9, 1.0]))
    assert torch.equal(optimizer.state[parameter]["exp_avg"][1], torch.zeros(3))


def test_higher_harmonics_learn_slower():
    parameter = torch.zeros(2, 4, 3, requires_grad=True)
    optimizer = VisibleAdam([parameter], lr=0.1, rest_factor=1 / 20)
    parameter.grad = torch.ones(2, 4, 3)
    optimizer.step()
    assert torch.allclose(parameter[0, :, 0], torch.tensor([-0.1, -0.005, -0.005, -0.005]))


@pytest.mark.parametrize("shape", [(50,), (50, 3), (50, 16, 3)])
def test_the_step_in_torch_is_the_fused_one(shape):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator)
    stepped = []
    for in_torch in (False, True):
        draws = torch.Generator().manual_seed(1)
        parameter = start.clone().requires_grad_()
        optimizer = VisibleAdam([parameter], lr=0.01, rest_factor=1 / 20)
        for _ in range(5):
            parameter.grad = torch.randn(shape, generator=draws)
            seen = torch.rand(len(parameter), generator=draws) < 0.6
            if not in_torch:
                optimizer.step(seen)
                continue
            with torch.no_grad():
                group = optimizer.param_groups[0]
                optimizer.count_step(parameter)
                optimizer.step_in_torch(parameter, group, seen)
        stepped.append(parameter.detach())
    assert torch.allclose(*stepped, atol=1e-6)
    assert not torch.allclose(stepped[0], start, atol=1e-3)
