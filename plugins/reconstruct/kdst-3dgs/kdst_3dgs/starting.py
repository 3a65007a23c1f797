"""What a fit starts from: photographs with cameras, moved to the unit frame, assumptions tried on them,
and the first Gaussians."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
import torch
from torch import Tensor

from kdst_3dgs import initialise, priors
from kdst_3dgs.memory import Watch
from kdst_3dgs.options import Options
from kdst_3dgs.ply import Parameters
from kdst_3dgs.scene import Scene, exposure_gain
from kdst_3dgs.views import Frame, prepare_views
from kdst_3dgs.warmup import compile_grids, compile_kernels

BACKGROUNDS = {"black": 0.0, "white": 1.0}


@attrs.frozen
class PosedPhotographs:
    """What Gaussians are fitted to.

    images: N tensors (H, W, 3), uint8 or float in [0, 1]; intrinsics (N, 3, 3) pixels; viewmats
    (N, 4, 4) world to camera, OpenCV axes; points (P, 3) and colors (P, 3), uint8 or float;
    masks: N of (H, W) bool, True where the photograph counts, or None; tracks: for each view the
    indices (T,) of the points seen in it, which depth supervision uses (without them every point
    in front of the camera counts as seen); exposures: (N,) positive, of each photograph from its
    metadata (seconds · ISO / f-number², or any multiple), which takes out the camera's automatic
    exposure; background: (3,) what is known to lie behind the scene, which `auto` takes.
    """

    images: Sequence[Tensor]
    intrinsics: Tensor
    viewmats: Tensor
    points: Tensor
    colors: Tensor
    masks: Sequence[Tensor | None] | None = None
    tracks: Sequence[Tensor] | None = None
    exposures: Tensor | None = None
    background: Tensor | None = None

    @property
    def shades(self) -> Tensor:
        """The colours of the points (P, 3), float in [0, 1]."""
        whole = self.colors.dtype == torch.uint8
        return self.colors.float() / 255 if whole else self.colors.float()

    @property
    def reference_exposure(self) -> float:
        """The geometric mean of the exposures; 1 where they are not known."""
        return 1.0 if self.exposures is None else float(self.exposures.double().log().mean().exp())


@attrs.frozen
class Trials:
    """How short fits are made by which assumptions are tried.

    trainer: makes one from options and photographs; progress: shows that of the fits; hurried: there
    is no time for any.
    """

    trainer: Callable[[Options, PosedPhotographs], Any]
    progress: priors.Progress | None
    hurried: bool

    def choose(
        self, options: Any, frame: Frame, photographs: PosedPhotographs
    ) -> tuple[Any, list[priors.Prior]]:
        """Return options with nothing left to try, and what was found."""
        shown = attrs.asdict(photographs, recurse=False)

        def trainer(settings: Options, given: dict[str, Any]) -> Any:
            return self.trainer(settings, PosedPhotographs(**given))

        fits = priors.Fits(trainer, frame.views, shown, self.progress)
        known = photographs.background is not None
        return priors.choose(options, frame, known, fits.scores, self.hurried)


@attrs.frozen
class Start:
    """A fit before its first iteration.

    options: nothing is left open in them. scene: without Gaussians yet, which are `parameters`. anew:
    makes such parameters again, with a `ground` or without one; filled: whether the first had one.
    """

    options: Any
    frame: Frame
    priors: list[priors.Prior]
    scene: Scene
    parameters: Parameters
    anew: Callable[..., Parameters]
    filled: bool
    memory: Watch


def begin(
    options: Any,
    photographs: PosedPhotographs,
    generator: torch.Generator,
    device: str,
    trials: Trials,
) -> Start:
    """Return what a fit starts from; ValueError for photographs that cannot be trained on."""
    p = photographs
    frame = prepare_views(p.images, p.intrinsics, p.viewmats, p.points, p.masks, p.tracks)
    options, found = trials.choose(options, frame, photographs)
    if p.exposures is not None:
        for view, exposure in zip(frame.views, p.exposures, strict=True):
            view.gain = exposure_gain(float(exposure), p.reference_exposure)
    anew = partial(initialise.start, options, frame, p.shades, generator)
    filled = p.background is None
    parameters = anew(ground=filled)
    memory = _room(parameters, frame, options.cap_max)
    if torch.device(device).type == "cpu":
        compile_kernels()
        if options.appears == "bilateral":
            compile_grids()
    scene = _empty_scene(options, frame, photographs)
    return Start(options, frame, found, scene, parameters, anew, filled, memory)


def _room(parameters: Parameters, frame: Frame, most: int) -> Watch:
    """Return the watch over memory; ValueError for more Gaussians than `most`."""
    count = len(parameters["means"])
    if count > most:
        raise ValueError(f"{count} Gaussians to start from exceed cap_max, {most}.")
    largest = max(height * width for height, width in (v.size for v in frame.views))
    memory = Watch(sum(p[0].numel() for p in parameters.values()))
    memory.start(count, largest)
    return memory


def _empty_scene(options: Any, frame: Frame, photographs: PosedPhotographs) -> Scene:
    """Return the scene without Gaussians: its frame, background and exposure."""
    ground = torch.full((3,), BACKGROUNDS.get(options.background, 0.0))
    if options.background == "auto" and photographs.background is not None:
        ground = photographs.background.float().clone()
    threads = options.threads or None
    scene = Scene({}, frame.origin, frame.unit, ground, options.antialiased, threads)
    scene.reference_exposure = photographs.reference_exposure
    scene.exposed = photographs.exposures is not None
    return scene
