"""What a fit makes small: how far a render is from its photograph, and what keeps the scene simple."""

from typing import Any, NamedTuple

import attrs
import torch
from torch import Tensor

from kdst_3dgs.appearance import Appearance
from kdst_3dgs.cameras import DSSIM
from kdst_3dgs.loss import photometric_loss
from kdst_3dgs.scene import Scene, apply_gain
from kdst_3dgs.views import View

SATURATED = 254 / 255
"""A photograph's value that may stand for anything brighter."""


class Drawn(NamedTuple):
    """A render rgb (H, W, 3), alpha (H, W), and what the rasteriser tells besides."""

    rgb: Tensor
    alpha: Tensor
    info: dict[str, Any]


class Target(NamedTuple):
    """A photograph (H, W, 3) as it is compared: its mask (H, W), intrinsics and background (3,)."""

    image: Tensor
    K: Tensor
    mask: Tensor | None
    background: Tensor


@attrs.frozen
class Objective:
    """The loss of Kerbl et al. 2023, eq. 7, with the regularisers that options ask for."""

    options: Any
    scene: Scene
    appearance: Appearance

    def __call__(self, view: View, drawn: Drawn, target: Target, placing: bool) -> Tensor:
        """Return the loss of one view; placing: while cameras are placed, structure counts more."""
        o, image = self.options, target.image.to(drawn.rgb.device)
        rgb = self._as_photographed(view, drawn, image, target.background)
        if view.transparent:
            behind = (1 - view.alpha_at(image))[..., None] * target.background
            image = image + behind.to(rgb.device)
        if target.mask is not None:
            rgb = torch.where(target.mask[..., None].to(rgb.device), rgb, image)
        weight = max(o.dssim_weight, DSSIM) if placing else o.dssim_weight
        loss = photometric_loss(rgb, image, weight, self.scene.rendering_threads)
        return self._regularised(loss, view, drawn, target.K)

    def _as_photographed(
        self, view: View, drawn: Drawn, image: Tensor, background: Tensor
    ) -> Tensor:
        """Return the render (H, W, 3) as the photograph shows it."""
        rgb = drawn.rgb
        if view.gain != 1:
            rgb = apply_gain(rgb, drawn.alpha, background, view.gain)
            rgb = torch.where((rgb > 1) & (image >= SATURATED), image, rgb)
        return self.appearance.applied(rgb, view.index)

    def _regularised(self, loss: Tensor, view: View, drawn: Drawn, K: Tensor) -> Tensor:
        """Return the loss with the weights of opacity, size and depth."""
        o, p = self.options, self.scene.parameters
        if o.opacity_reg:
            loss = loss + o.opacity_reg * torch.sigmoid(p["opacities"]).mean()
        if o.scale_reg:
            loss = loss + o.scale_reg * p["scales"].exp().mean()
        if o.depth_weight:
            loss = loss + o.depth_weight * view.depth_error(drawn.info["depth"], drawn.alpha, K)
        return loss
