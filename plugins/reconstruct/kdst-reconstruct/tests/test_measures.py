"""Measures, the flight and the pictures."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from kdst_reconstruct import pictures
from kdst_reconstruct.default import solids
from kdst_reconstruct.measures import score
from kdst_reconstruct.rendering import flight


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    photograph = torch.rand(40, 50, 3, generator=generator)
    return photograph, (photograph + 0.1 * torch.randn(40, 50, 3, generator=generator)).clamp(0, 1)


def test_psnr_agrees_with_scikit_image() -> None:
    photograph, render = pair()
    expected = peak_signal_noise_ratio(photograph.numpy(), render.numpy(), data_range=1)
    assert score(render, photograph).psnr == pytest.approx(expected, abs=1e-5)


def test_equal_images_score_one_in_ssim() -> None:
    photograph, _ = pair()
    assert score(photograph, photograph).ssim == pytest.approx(1)


def test_errors_outside_the_mask_do_not_count() -> None:
    photograph, render = pair()
    mask = torch.zeros(40, 50, dtype=torch.bool)
    mask[:, :25] = True
    worse = torch.where(mask[..., None], render, 1 - photograph)
    assert score(worse, photograph, mask) == score(render, photograph, mask)
    assert score(worse, photograph).psnr < score(render, photograph).psnr


def test_flight_goes_through_the_cameras_and_closes_a_loop() -> None:
    cameras = solids.capture(views=8, width=33, height=25, points=1).cameras
    path = flight.along(cameras, 16)
    for k, camera in enumerate(cameras):
        torch.testing.assert_close(path[2 * k].viewmat, camera.viewmat, rtol=1e-4, atol=1e-4)
    assert (path[0].width, path[0].height) == (32, 24)
    turned = path[15].viewmat[:3, :3]
    torch.testing.assert_close(turned @ turned.T, torch.eye(3), rtol=1e-5, atol=1e-5)


def test_comparison_shows_photograph_render_and_error() -> None:
    photograph, render = pair()
    image = np.array(Image.open(io.BytesIO(pictures.comparison(photograph, render))))
    assert image.shape == (40, 3 * 50 + 2 * pictures.GAP, 4)
    assert np.abs(image[:, :50, :3] / 255 - photograph.numpy()).max() < 0.003
    assert not pictures.error_map(photograph, photograph).any()
