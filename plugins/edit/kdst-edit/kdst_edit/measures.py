"""How far an edit stays what the source is outside a region, and whether the object keeps its place."""

import numpy as np
import torch
from torch import Tensor

MOST_DB = 100.0
"""PSNR of images that are equal, so that means stay finite."""


def mse(image: Tensor, other: Tensor, inside: Tensor) -> float:
    """Mean squared error of two images (3, H, W) over the pixels `inside` (H, W)."""
    difference = (image - other).square().mean(0)[inside]
    return float(difference.double().mean()) if difference.numel() else 0.0


def psnr(image: Tensor, other: Tensor, inside: Tensor) -> float:
    """PSNR in dB of two images (3, H, W) in [0, 1] over the pixels `inside` (H, W), at most 100."""
    error = mse(image, other, inside)
    return MOST_DB if error <= 10 ** (-MOST_DB / 10) else float(-10 * np.log10(error))


def ssim(image: Tensor, other: Tensor, inside: Tensor) -> float:
    """Mean structural similarity over the pixels `inside` (H, W), by scikit-image.

    Wang et al. (2004): Gaussian window of 1.5 pixels.
    """
    from skimage.metrics import structural_similarity

    pair = [x.permute(1, 2, 0).double().numpy() for x in (image, other)]
    _, full = structural_similarity(
        *pair,
        channel_axis=2,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    chosen = torch.from_numpy(full).mean(-1)[inside]
    return float(chosen.mean()) if chosen.numel() else 1.0


def iou(region: Tensor, other: Tensor) -> float:
    """Intersection over union of two regions (H, W); 1 where both are empty."""
    union = int((region | other).sum())
    return float((region & other).sum()) / union if union else 1.0


def region_of(heat: Tensor, size: tuple[int, int], threshold: float = 0.3) -> Tensor:
    """Where (H, W) an attention map (h, w) exceeds a share of its maximum."""
    wide = torch.nn.functional.interpolate(heat[None, None].float(), size=size, mode="bilinear")
    return wide[0, 0] > threshold * wide.max()
