"""Reconstruction: photographs of a scene with cameras, to a scene that renders from any camera.

Axes follow OpenCV: x right, y down, z forward; pixel centres lie at +0.5.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

if TYPE_CHECKING:
    from torch import Generator, Tensor


@frozen
class Camera:
    """A pinhole camera.

    K: (3, 3) intrinsics in pixels. viewmat: (4, 4) world to camera. width, height: pixels.
    exposure: of the photograph, seconds · ISO / f-number² or any fixed multiple of it; None where
    it is not known.
    """

    K: "Tensor"
    viewmat: "Tensor"
    width: int
    height: int
    exposure: float | None = None


@frozen
class Capture:
    """Posed photographs and the points that structure from motion found.

    images: one (H, W, 3) float tensor in [0, 1] a view; sizes may differ between views.
    cameras: one a view. names: file names of the views, in order.
    masks: (H, W) bool a view, True where the photograph counts, or None.
    points: (P, 3) world positions, P may be 0. colors: (P, 3) in [0, 1].
    tracks: for each view the indices (T,) of the points seen in it, or None when that is not known.
    background: (3,) in [0, 1], what transparent photographs were laid over, or None.
    """

    images: "Sequence[Tensor]"
    cameras: Sequence[Camera]
    names: Sequence[str]
    masks: "Sequence[Tensor | None] | None"
    points: "Tensor"
    colors: "Tensor"
    tracks: "Sequence[Tensor] | None" = None
    background: "Tensor | None" = None


@frozen
class ReconstructRequest:
    """The views a scene is fitted to; held-out views are not in it.

    generator: a CPU generator, the source of all randomness. iterations: how many the capture asks
    for when the user says nothing, None for the method's own default. seconds: the time that the
    fit may take from the call on, None where it does not matter; a method that keeps to it says in
    `plan` of its reconstruction what it chose, and in `share_done` how far it is, from 0 to 1.
    """

    capture: Capture
    generator: "Generator"
    iterations: int | None = None
    seconds: float | None = None


@frozen
class Render:
    """rgb: (H, W, 3) in [0, 1]. alpha: (H, W) in [0, 1]. depth: (H, W) in world units, or None."""

    rgb: "Tensor"
    alpha: "Tensor"
    depth: "Tensor | None" = None


@frozen
class Splats:
    """Gaussians as viewers draw them, in the capture's coordinates.

    means: (N, 3). covariances: (N, 3, 3). colors: (N, 3) in [0, 1], the same from every side.
    opacities: (N,) in [0, 1].
    """

    means: "Tensor"
    covariances: "Tensor"
    colors: "Tensor"
    opacities: "Tensor"


class Scene(Protocol):
    """A fitted scene."""

    def render(self, camera: Camera) -> Render:
        """Render one view without gradients."""

    def save(self, path: Path, box: "Tensor | None" = None) -> "Sequence[str] | None":
        """Write the scene; the suffix of the path chooses the format.

        box: two opposite corners (2, 3) in the capture's coordinates; only what lies inside is
        written. Returns sentences on what the file does not hold, or None.
        """

    def splats(self) -> Splats:
        """Return what a viewer draws; KdstError for a scene that is not made of Gaussians."""

    def __len__(self) -> int:
        """Return the number of Gaussians, or of whatever the scene is made of."""


class Reconstruction(Protocol):
    """A fit under way: iterate over it for (iteration, scene), iterations counted from 1.

    It may have `notes`, sentences that a user should read beside the figures; `priors`, what it
    assumed of the scene or tried to, each with `name`, `kept`, `gain` (dB or None) and `said`, a
    sentence; `foreseen()`, how many times longer an iteration takes on the average than at
    first, and the bytes that memory still grows by; and `alignment`, what it learns for each
    photograph, so that the scene does not tell it of a new view (`colour`, `pose` or both): held-out
    views are then also scored after it was fitted to one half of each.

    A scene is the live one: render or save it before asking for the next iteration.
    """

    @property
    def iterations(self) -> int:
        """Iteration at which the fit ends."""

    @property
    def scene(self) -> Scene:
        """The live scene as far as it is fitted."""

    def __iter__(self) -> Iterator[tuple[int, Scene]]:
        """Return itself."""

    def __next__(self) -> tuple[int, Scene]:
        """Carry out one iteration."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything the fit goes on from: tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; the next iteration is the one after it."""
