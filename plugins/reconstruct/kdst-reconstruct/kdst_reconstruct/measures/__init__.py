"""Measures of a rendered view against its photograph."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Score(NamedTuple):
    """PSNR in dB and SSIM of one view."""

    psnr: float
    ssim: float


def score(rgb: Tensor, photograph: Tensor, mask: Tensor | None = None) -> Score:
    """Compare images (H, W, 3) in [0, 1]; where `mask` (H, W) is given, only inside it.

    PSNR over all channels; SSIM as in Wang et al. 2004 (scikit-image, Gaussian window of 1.5).
    """
    from skimage.metrics import structural_similarity

    square = (rgb - photograph).square()
    if mask is not None:
        square, rgb = square[mask], torch.where(mask[..., None], rgb, photograph)
    error = max(float(square.double().mean()), 1e-12)
    _, local = structural_similarity(
        rgb.numpy(),
        photograph.numpy(),
        channel_axis=2,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    values = torch.from_numpy(local).double()
    ssim = values[5:-5, 5:-5] if mask is None else values[mask]
    return Score(-10 * math.log10(error), float(ssim.mean()))
