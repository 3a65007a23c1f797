"""Reconstruction: photographs of a scene with cameras, to a scene that renders from any camera.

Axes follow OpenCV: x right, y down, z forward; pixel centres lie at +0.5.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

if TYPE_CHECKING:
    from torch import Generator, Tensor


@frozen
class Camera:
    """A pinhole camera.

    K: (3, 3) intrinsics in pixels. viewmat: (4, 4) world to camera. width, height: pixels.
    """

    K: "Tensor"
    viewmat: "Tensor"
    width: int
    height: int


@frozen
class Capture:
    """Posed photographs and the points that structure from motion found.

    images: one (H, W, 3) float tensor in [0, 1] a view; sizes may differ between views.
    cameras: one a view. names: file names of the views, in order.
    masks: (H, W) bool a view, True where the photograph counts, or None.
    points: (P, 3) world positions, P may be 0. colors: (P, 3) in [0, 1].
    """

    images: "Sequence[Tensor]"
    cameras: Sequence[Camera]
    names: Sequence[str]
    masks: "Sequence[Tensor | None] | None"
    points: "Tensor"
    colors: "Tensor"


@frozen
class ReconstructRequest:
    """The views a scene is fitted to; held-out views are not in it."""

    capture: Capture
    generator: "Generator"


@frozen
class Render:
    """rgb: (H, W, 3) in [0, 1]. alpha: (H, W) in [0, 1]. depth: (H, W) in world units, or None."""

    rgb: "Tensor"
    alpha: "Tensor"
    depth: "Tensor | None" = None


class Scene(Protocol):
    """A fitted scene."""

    def render(self, camera: Camera) -> Render:
        """Render one view without gradients."""

    def save(self, path: Path) -> None:
        """Write the scene; the suffix of the path chooses the format."""
