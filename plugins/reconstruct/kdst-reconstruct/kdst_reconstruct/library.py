"""Reconstruction as a function: photographs to a scene that renders from any camera."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from kdst_core.bench.contract import Job
from kdst_core.bench.library import Bound
from kdst_core.contracts import Camera, Capture, ReconstructRequest, Render, Scene, Splats

if TYPE_CHECKING:
    from torch import Tensor

INPUTS = ("width", "downscale", "alpha", "video_frames", "matching", "sfm", "exif")
"""Options of the bench that say how photographs are read."""


@frozen
class FittedScene:
    """A fitted scene, and the capture it was fitted to, whose cameras it can be rendered from."""

    scene: Scene = field(repr=False)
    capture: Capture = field(repr=False)

    @property
    def cameras(self) -> Sequence[Camera]:
        """The cameras of the photographs."""
        return self.capture.cameras

    def render(self, camera: Camera) -> Render:
        """Render one view without gradients."""
        return self.scene.render(camera)

    def save(self, path: str | Path, box: "Tensor | None" = None) -> Sequence[str] | None:
        """Write the scene; the suffix of the path chooses the format. box as in `Scene.save`."""
        return self.scene.save(Path(path), box)

    def splats(self) -> Splats:
        """Return what a viewer draws."""
        return self.scene.splats()

    def __len__(self) -> int:
        """Return the number of Gaussians, or of whatever the scene is made of."""
        return len(self.scene)


def fitted(
    automatic: Callable[[Job], str], bound: Bound, data: str | Path | Capture
) -> FittedScene:
    """Fit a scene to all photographs; none is held out, so nothing is scored.

    automatic: the device where none is named. data: as `--data` takes it, or a capture.
    """
    import torch

    from kdst_core.bench.device import usable
    from kdst_reconstruct.captures.source import load_source

    live = data if isinstance(data, Capture) else None
    inputs = bound.inputs if live is not None else evolve(bound.inputs, data=str(data))
    job = Job(bound.method, bound.options, inputs, bound.seed, bound.device)
    device = usable(automatic(job) if bound.device == "auto" else bound.device)
    source = load_source(inputs, live, "quiet")
    generator = torch.Generator().manual_seed(bound.seed)
    request = ReconstructRequest(source.capture, generator, source.iterations)
    reconstruction = bound.call(request, device)
    for _ in reconstruction:
        pass
    return FittedScene(reconstruction.scene, source.capture)
