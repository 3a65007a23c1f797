"""The trainer as the contract of `reconstruct` wants it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch

from kdst_3dgs.method import Trainer
from kdst_3dgs.options import Options
from kdst_3dgs.ply import SplatFileError
from kdst_3dgs.priors import Progress
from kdst_3dgs.scene import Scene
from kdst_3dgs.starting import PosedPhotographs
from kdst_core.contracts import Camera, Capture, ReconstructRequest, Render, Splats
from kdst_core.errors import KdstError
from kdst_reconstruct.options import PAPER_ITERATIONS

GROWTH = 3.0
"""Gaussians at the end, of those at the start, as captures at hand have it."""
KEPT = (
    "--appearance {}: what was learnt of each photograph's colours is kept in the checkpoint and in no"
    " scene file; renders are without it."
)
SLOWED = 0.2
"""What a Gaussian more adds to the time of an iteration, of that of one at the start."""


@attrs.frozen
class GaussianScene:
    """A live scene of Gaussians, rendered with the contract's cameras."""

    scene: Scene

    def __len__(self) -> int:
        return len(self.scene)

    @property
    def antialiased(self) -> bool:
        """Whether opacities are meant for the filter of antialiasing."""
        return self.scene.antialiased

    def render(self, camera: Camera) -> Render:
        """Render one view, with the photograph's exposure where the camera has one."""
        size = (camera.width, camera.height)
        exposure = camera.exposure if self.scene.exposed else None
        drawn = self.scene.render(camera.viewmat, camera.K, *size, exposure)
        return Render(*(image.cpu() for image in drawn))

    def save(self, path: Path, box: torch.Tensor | None = None) -> list[str]:
        """Write a splat file, as the ending of its name says, in the capture's coordinates; return
        sentences on what the file does not hold."""
        try:
            return self.scene.save(path, box)
        except SplatFileError as e:
            raise KdstError(str(e)) from e

    def splats(self) -> Splats:
        """Return the Gaussians as viewers draw them."""
        return self.scene.splats()

    @classmethod
    def load(cls, path: Path) -> "GaussianScene":
        """Open a .ply, .spz or .sog; KdstError for one that cannot be read."""
        try:
            return cls(Scene.load(path))
        except SplatFileError as e:
            raise KdstError(str(e)) from e


class GaussianReconstruction:
    """Training under way; the next item is (iteration, scene), iterations counted from 1.

    Exposures are used when every view has one. notes: sentences on what a user should know of the
    settings. priors: what was assumed of the scene beyond the paper, and why. Raises KdstError for
    a capture that cannot be trained on.
    """

    def __init__(
        self,
        request: ReconstructRequest,
        options: Options,
        device: str,
        progress: Progress | None = None,
    ) -> None:
        count = options.iterations or request.iterations or PAPER_ITERATIONS
        capture = request.capture
        try:
            self.trainer = Trainer(
                attrs.evolve(options, iterations=count),
                _photographs(capture),
                generator=request.generator,
                device=device,
                progress=progress,
                seconds=request.seconds,
            )
        except ValueError as e:
            raise KdstError(str(e)) from e
        self._steps = self.trainer.run()
        self.priors = self.trainer.priors
        if self.trainer.timetable:
            count = self.trainer.timetable.plan.iterations
        self._unused = attrs.evolve(options, iterations=count).unused(len(capture.points))

    @property
    def iterations(self) -> int:
        """Iteration at which training ends."""
        return self.trainer.options.iterations

    @property
    def notes(self) -> list[str]:
        """Sentences on settings that never act, on cameras that were moved, and on learnt colours."""
        moved = [self.trainer.cameras.said()] if self.trainer.cameras else []
        learnt = self.trainer.options.appearance
        kept = [] if learnt == "none" else [KEPT.format(learnt)]
        return [*self._unused, *moved, *kept]

    @property
    def alignment(self) -> tuple[str, ...]:
        """What of a view the scene does not tell, since it is learnt for each photograph."""
        options = self.trainer.options
        colour = ("colour",) if options.appears != "none" else ()
        return (*colour, *(("pose",) if options.refine_cameras else ()))

    @property
    def plan(self) -> str:
        """What was chosen to end in time, as a sentence; nothing without a time to keep."""
        if self.trainer.timetable is None:
            return ""
        plan = self.trainer.timetable.plan
        sides = [round(plan.share * max(v.size)) for v in self.trainer.views]
        return (
            f"photographs of at most {max(sides)} pixels, {plan.gaussians:,} Gaussians, about"
            f" {plan.iterations:,} iterations"
        )

    @property
    def share_done(self) -> float:
        """Share of the fit that is done, from 0 to 1."""
        return self.trainer.progress

    def end_in(self, seconds: float) -> None:
        """Let a fit that keeps to a time be over in some seconds from now."""
        if self.trainer.timetable:
            self.trainer.timetable.clock.end_in(seconds)

    @property
    def scene(self) -> GaussianScene:
        """The live scene as far as it is trained."""
        return GaussianScene(self.trainer.scene)

    def __iter__(self) -> "GaussianReconstruction":
        return self

    def __next__(self) -> tuple[int, GaussianScene]:
        iteration, scene = next(self._steps)
        return iteration, GaussianScene(scene)

    def foreseen(self) -> tuple[float, int]:
        """How many times longer an iteration takes on the average than at first, and the bytes that
        memory still grows by: Gaussians become GROWTH times as many, where there is room."""
        now, options = len(self.trainer.scene), self.trainer.options
        if self.trainer.timetable:
            most = self.trainer.timetable.plan.gaussians
            return 1.0, self.trainer.memory.growth(max(0, most - now))
        if not options.refines:
            return 1.0, 0
        more = max(0, min(int(GROWTH * now), options.cap_max) - now)
        return 1 + SLOWED * more / max(now, 1), self.trainer.memory.growth(more)

    def state_dict(self) -> dict[str, Any]:
        """Everything that training goes on from."""
        return self.trainer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `state_dict`."""
        self.trainer.load_state_dict(dict(state))


def _photographs(capture: Capture) -> PosedPhotographs:
    """The views of a capture as the trainer takes them."""
    return PosedPhotographs(
        capture.images,
        torch.stack([c.K for c in capture.cameras]),
        torch.stack([c.viewmat for c in capture.cameras]),
        capture.points,
        capture.colors,
        masks=capture.masks,
        tracks=capture.tracks,
        exposures=_exposures(capture),
        background=capture.background,
    )


def _exposures(capture: Capture) -> "torch.Tensor | None":
    """The exposures (N,) of the views, or None unless every view has one."""
    known = [c.exposure for c in capture.cameras if c.exposure is not None]
    return torch.tensor(known) if known and len(known) == len(capture.cameras) else None
