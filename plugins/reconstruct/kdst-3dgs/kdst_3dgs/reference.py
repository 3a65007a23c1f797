"""The rasteriser in plain torch: dense, slow, any precision, differentiated by autograd.

It exists to say what the kernels must compute, and to check them in float64.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from kdst_3dgs import harmonics
from kdst_3dgs.constants import (
    ALPHA_MAX,
    ALPHA_MIN,
    CLAMP_MARGIN,
    EPS2D,
    FAR,
    NEAR,
    TRANSMITTANCE_MIN,
)


def rotations(quats: Tensor) -> Tensor:
    """Rotation matrices (N, 3, 3) of quaternions (N, 4), wxyz, of any length but zero."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    )
    return torch.stack(rows, dim=-1).reshape(-1, 3, 3)


def spherical_harmonics(directions: Tensor, sh: Tensor) -> Tensor:
    """Colours (N, 3) = max(SH + 0.5, 0) from directions (N, 3) and coefficients (N, K, 3)."""
    x, y, z = torch.nn.functional.normalize(directions, dim=-1).unbind(-1)
    basis = [torch.full_like(x, harmonics.C0)]
    if sh.shape[1] > 1:
        basis += harmonics.basis_1(x, y, z)
    if sh.shape[1] > 4:
        basis += harmonics.basis_2(x, y, z)
    if sh.shape[1] > 9:
        basis += harmonics.basis_3(x, y, z)
    return ((torch.stack(basis, -1)[..., None] * sh).sum(1) + 0.5).clamp_min(0)


def project(
    means: Tensor,
    quats: Tensor,
    log_scales: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """EWA projection (Kerbl et al. 2023, eq. 5): means2d (N, 2), covariances before the screen
    filter (N, 2, 2), depths (N,)."""
    W = viewmat[:3, :3]
    x, y, z = (means @ W.T + viewmat[:3, 3]).unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = CLAMP_MARGIN * width / fx, CLAMP_MARGIN * height / fy
    tx = z * torch.clamp(x / z, -cx / fx - margin_x, (width - cx) / fx + margin_x)
    ty = z * torch.clamp(y / z, -cy / fy - margin_y, (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    J = torch.stack([fx / z, zero, -fx * tx / z**2, zero, fy / z, -fy * ty / z**2], -1)
    P = J.reshape(-1, 2, 3) @ W @ (rotations(quats) * log_scales.exp()[:, None, :])
    return torch.stack([fx * x / z + cx, fy * y / z + cy], -1), P @ P.mT, z


def rasterize_reference(
    means: Tensor,
    quats: Tensor,
    log_scales: Tensor,
    opacity_logits: Tensor,
    sh: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    background: Tensor,
    *,
    antialiased: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """What `rasterize` computes, densely: rgb (H, W, 3), alpha (H, W), depth (H, W).

    Arguments as there. Memory grows with Gaussians times pixels: for small scenes.
    """
    means2d, covariance, depths = project(means, quats, log_scales, viewmat, K, width, height)
    filtered = covariance + EPS2D * torch.eye(2, dtype=means.dtype)
    opacity = torch.sigmoid(opacity_logits)
    if antialiased:
        ratio = torch.linalg.det(covariance) / torch.linalg.det(filtered)
        opacity = opacity * ratio.clamp_min(0).sqrt()
    centre = -viewmat[:3, :3].T @ viewmat[:3, 3]
    colours = spherical_harmonics(means - centre, sh)
    with torch.no_grad():
        seen = (depths > NEAR) & (depths < FAR)
        order = torch.argsort(depths, stable=True)
        order = order[seen[order]]
    alpha = _alphas(means2d[order], filtered[order], opacity[order], width, height)
    # T_i is the light that reaches Gaussian i; it stops before T would reach the minimum.
    after = torch.cumprod(1 - alpha, dim=0)
    before = torch.cat([torch.ones_like(after[:1]), after])[: len(alpha)]
    weights = before * torch.where(after > TRANSMITTANCE_MIN, alpha, torch.zeros_like(alpha))
    values = torch.cat([colours, depths[:, None], torch.ones_like(depths)[:, None]], -1)[order]
    image = torch.einsum("nhw,nc->hwc", weights, values)
    rgb, depth, total = image[..., :3], image[..., 3], image[..., 4]
    return rgb + (1 - total)[..., None] * background, total, depth


def _alphas(
    means2d: Tensor, covariance: Tensor, opacity: Tensor, width: int, height: int
) -> Tensor:
    """Opacity of every Gaussian at every pixel centre, (N, H, W), thresholds applied."""
    ys = torch.arange(height, dtype=means2d.dtype) + 0.5
    xs = torch.arange(width, dtype=means2d.dtype) + 0.5
    dx = xs[None, None, :] - means2d[:, 0, None, None]
    dy = ys[None, :, None] - means2d[:, 1, None, None]
    a, b, c = (v[:, None, None] for v in _conics(covariance))
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = (opacity[:, None, None] * torch.exp(-sigma)).clamp_max(ALPHA_MAX)
    return torch.where(alpha >= ALPHA_MIN, alpha, torch.zeros_like(alpha))


def _conics(covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The upper triangle of the inverse of 2 by 2 covariances."""
    xx, xy, yy = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    det = xx * yy - xy * xy
    return yy / det, -xy / det, xx / det


def photometric_loss_reference(rgb: Tensor, target: Tensor, dssim_weight: float = 0.2) -> Tensor:
    """`photometric_loss` in plain torch, in the precision and on the device of its inputs."""
    offsets = torch.arange(11, dtype=rgb.dtype, device=rgb.device) - 5
    taps = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    taps = taps / taps.sum()

    def blur(image: Tensor) -> Tensor:
        planes = image.permute(2, 0, 1)[:, None]
        return conv2d(conv2d(planes, taps[None, None, :, None]), taps[None, None, None, :])

    mx, my = blur(rgb), blur(target)
    xx, yy = blur(rgb * rgb) - mx * mx, blur(target * target) - my * my
    xy = blur(rgb * target) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mx * my + c1) * (2 * xy + c2) / ((mx * mx + my * my + c1) * (xx + yy + c2))
    return (1 - dssim_weight) * (rgb - target).abs().mean() + dssim_weight * (1 - ssim.mean())
