"""The same call as `rasterize` through gsplat's CUDA kernels."""

from typing import Any

import torch
from torch import Tensor

from kdst_3dgs.constants import NEAR


def rasterize_cuda(
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
    sh_degree: int | None = None,
    antialiased: bool = False,
    depth: bool = False,
    absgrad: bool = False,
    near: float = NEAR,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """gsplat's `rasterization` with the arguments and results of `kdst_3dgs.rasterize`."""
    from gsplat import rasterization  # type: ignore[import-untyped]

    degree = int(sh.shape[1] ** 0.5) - 1 if sh_degree is None else sh_degree
    colors, alphas, info = rasterization(
        means,
        quats,
        log_scales.exp(),
        torch.sigmoid(opacity_logits),
        sh,
        viewmat[None].to(means.device),
        K[None].to(means.device),
        width,
        height,
        sh_degree=min(degree, int(sh.shape[1] ** 0.5) - 1),
        near_plane=near,
        packed=False,
        absgrad=absgrad,
        rasterize_mode="antialiased" if antialiased else "classic",
        render_mode="RGB+D" if depth else "RGB",
    )
    alpha = alphas[0, ..., 0]
    rgb = colors[0, ..., :3] + (1 - alphas[0]) * background.to(means.device)
    info["visible"] = (info["radii"][0] > 0).all(-1)
    if depth:
        info["depth"] = colors[0, ..., 3]
    return rgb, alpha, info
