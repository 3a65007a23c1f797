"""Held-out views scored after what only a photograph tells, its colours and its exact pose, was fitted.

Each half of a view, left and right, is scored as the fit to the other half has it: no pixel takes part in
a fit that it is scored by. While the method renders, no frame holds a photograph.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdst_core.contracts import Scene
from kdst_core.plugins.method import Method
from kdst_reconstruct.holdout.views import HeldOut
from kdst_reconstruct.measures import Score, score
from kdst_reconstruct.measures.colour import affine, half
from kdst_reconstruct.measures.pose import refined
from kdst_reconstruct.measures.views import rendered

KINDS = {"none": (), "colour": ("colour",), "pose": ("pose",), "both": ("colour", "pose")}
"""What is fitted, by the values of --align."""


def kinds_of(setting: str, asked: Sequence[str]) -> tuple[str, ...]:
    """Return what is fitted to a view: as `setting` says, or by `auto` what the method asks for."""
    if setting != "auto":
        return KINDS[setting]
    return tuple(kind for kind in KINDS["both"] if kind in asked)


def score_aligned(
    method: Method, scene: Scene, views: HeldOut, kinds: Sequence[str]
) -> list[Score]:
    """Return the scores of every view whose halves were each fitted to the other."""
    return [_score(method, scene, views, n, kinds) for n in range(len(views))]


def _score(
    method: Method, scene: Scene, views: HeldOut, number: int, kinds: Sequence[str]
) -> Score:
    """Return the score of one view, put together of its halves."""
    by_left, by_right = (_fitted(method, scene, views, number, s, kinds) for s in (True, False))
    middle = by_left.shape[1] // 2
    together = torch.cat([by_right[:, :middle], by_left[:, middle:]], 1)
    return score(together, views.photograph(number), views.mask(number))


def _fitted(
    method: Method, scene: Scene, views: HeldOut, number: int, left: bool, kinds: Sequence[str]
) -> Tensor:
    """Return a render (H, W, 3) of a view, fitted to the left or right half of its photograph."""
    camera = views.cameras[number]
    if "pose" in kinds:
        camera = refined(method, scene, views, number, left, "colour" in kinds)
    rgb = rendered(method, scene, camera)
    return _recoloured(rgb, views, number, left) if "colour" in kinds else rgb


def _recoloured(rgb: Tensor, views: HeldOut, number: int, left: bool) -> Tensor:
    """Return a render with the affine change of colour that fits one half of its photograph."""
    photograph, mask = views.photograph(number), views.mask(number)
    used = half(photograph.shape[:2], left) if mask is None else half(mask.shape, left) & mask
    matrix = affine(rgb[used], photograph[used])
    return (rgb @ matrix[:3] + matrix[3]).clamp(0, 1)
