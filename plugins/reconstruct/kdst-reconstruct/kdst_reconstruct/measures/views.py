"""Held-out views, rendered and compared with their photographs, which no method sees meanwhile."""

import torch
from torch import Tensor

from kdst_core.contracts import Camera, Scene
from kdst_core.errors import MethodError
from kdst_core.plugins.method import Method
from kdst_reconstruct.holdout.views import HeldOut
from kdst_reconstruct.measures import Score, score
from kdst_reconstruct.measures.lpips import Lpips


def score_views(method: Method, scene: Scene, views: HeldOut) -> list[Score]:
    """Render every view and compare it with its photograph; no frame of a render holds one."""
    numbers = range(len(views))
    return [score(*_pair(method, scene, views, n), views.mask(n)) for n in numbers]


def lpips_of(method: Method, scene: Scene, views: HeldOut, lpips: Lpips) -> list[float]:
    """Render every view and return its LPIPS; outside a mask the photograph is shown in both."""
    return [
        _lpips(*_pair(method, scene, views, n), views.mask(n), lpips) for n in range(len(views))
    ]


def _lpips(rgb: Tensor, photograph: Tensor, mask: Tensor | None, lpips: Lpips) -> float:
    """Return the LPIPS of a render and a photograph (H, W, 3)."""
    shown = rgb if mask is None else torch.where(mask[..., None], rgb, photograph)
    return lpips.distance(shown, photograph)


def _pair(method: Method, scene: Scene, views: HeldOut, number: int) -> tuple[Tensor, Tensor]:
    """Return the render of a view, and then its photograph (H, W, 3)."""
    rgb = rendered(method, scene, views.cameras[number])
    photograph = views.photograph(number)
    if rgb.shape != photograph.shape or not bool(torch.isfinite(rgb).all()):
        raise MethodError(
            f"{method.plugin.qualified} rendered {tuple(rgb.shape)}, or values that are not"
            f" finite, for a view of shape {tuple(photograph.shape)}"
        )
    return rgb, photograph


def rendered(method: Method, scene: Scene, camera: Camera) -> Tensor:
    """Return a render (H, W, 3), float32 on the CPU."""
    with method.working():
        return scene.render(camera).rgb.detach().float().cpu()
