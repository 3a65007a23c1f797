"""What the method assumes of a scene beyond the paper, tried before it is used.

An open sky behind everything and a ground where photographs have no points help many captures and
harm others. Each is tried by a short fit with it and one without, on small copies of the training
views: some of them are left out of both fits, and what renders these better is taken. Views held out
by the bench are not among them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from kdst_3dgs import initialise
from kdst_3dgs.loss import MIN_SIDE
from kdst_3dgs.options import Options
from kdst_3dgs.views import Frame, View

FILL = 40
"""Cells across a photograph that the ground is looked for in."""
SIDE = 96
"""Pixels of the longer side that photographs are reduced to for a trial, at most."""
ITERATIONS, PART = (20, 100), 5
"""Fewest and most iterations of a trial; between them, a part of the run's: what is added at first
needs some of them to find its place."""
HURRIED = 60.0
"""Seconds of a fit below which nothing is tried, since trying would take a good part of them."""
VIEWS, POINTS = 20, 6_000
"""Most views and most points of a trial."""
MARGIN = 0.25
"""dB that a prior must gain on views left out."""
BORNE_OUT = 0.5
"""Share of a filled ground with points on it beside it from which on it is not tried."""
SURE = 0.5
"""Confidence in the direction of gravity below which no ground is assumed."""


@attrs.frozen
class Prior:
    """One prior and what became of it.

    gain: dB on training views left out of short fits, None where none was made. kept: whether the
    run uses it. said: why, for a reader.
    """

    name: str
    kept: bool
    said: str
    gain: float | None = None


@attrs.frozen
class Sample:
    """Small copies of some training views: what a trainer takes, by name, and the rows left out of
    each fit."""

    given: Mapping[str, Any]
    folds: Sequence[Sequence[int]]


Score = Callable[[Options], list[float]]
Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]


def choose(
    options: Options, frame: Frame, background_known: bool, score: Score, hurried: bool = False
) -> tuple[Options, list[Prior]]:
    """Return options with nothing left to try, and what was found.

    Tried are a white background where `background` is auto, and the ground where `init_fill` is
    None. background_known: whether the capture says what lies behind it. score: PSNR in dB of every
    view left out, of short fits with given options. hurried: there is no time to try anything.
    """
    plain = attrs.evolve(options, background=_plain(options), init_fill=options.init_fill or 0)
    found: list[Prior] = []
    if background_known or options.init != "sfm" or not len(frame.points):
        return attrs.evolve(plain, background=options.background), found
    if plain.init_fill and _ground(frame):
        found.append(Prior("ground", False, f"ground not assumed: {_ground(frame)}"))
        plain = attrs.evolve(plain, init_fill=0)
    if hurried:
        return plain, found
    wanted: list[tuple[bool, str, dict[str, Any], str]] = [
        (options.background == "auto", "white sky", {"background": "white"}, _sky(frame)),
        (options.init_fill is None, "ground", {"init_fill": FILL}, _ground(frame)),
    ]
    chosen, best = plain, None
    for open_, name, change, reason in wanted:
        if not open_:
            continue
        if reason:
            found.append(Prior(name, False, f"{name} not assumed: {reason}"))
            continue
        if name == "ground" and _seen(frame):
            chosen = attrs.evolve(chosen, **change)
            found.append(Prior(name, True, "ground kept: points lie on it beside what it fills"))
            continue
        best = score(chosen) if best is None else best
        other = attrs.evolve(chosen, **change)
        scores = score(other)
        gain = sum(b - a for a, b in zip(best, scores, strict=True)) / len(best)
        kept = gain > MARGIN
        verdict = "kept" if kept else "not kept"
        said = f"{name} {verdict}: {gain:+.2f} dB on training views left out of short fits"
        found.append(Prior(name, kept, said, gain))
        chosen, best = (other, scores) if kept else (chosen, best)
    return chosen, found


def _plain(options: Options) -> Any:
    """The background without a prior."""
    return "black" if options.background == "auto" else options.background


def _sky(frame: Frame) -> str:
    """Why a white sky is out of the question, or nothing."""
    bright = initialise.empty_brightness(frame.views, frame.points)
    if bright > initialise.SKY:
        return ""
    return f"what has no points is of brightness {bright:.2f}, below {initialise.SKY}"


def _ground(frame: Frame) -> str:
    """Why a ground is out of the question, or nothing."""
    sure = initialise.ground_of(frame.views, frame.points).confidence
    if sure >= SURE:
        return ""
    return f"which way is down is known with confidence {sure:.2f}, below {SURE}"


def _seen(frame: Frame) -> bool:
    """Whether structure from motion itself shows the ground where it would be filled: then it is
    between points, and no assumption that short fits, which tell only large effects, should veto."""
    return initialise.ground_seen(frame.views, frame.points, FILL) >= BORNE_OUT


def sample(views: Sequence[View], capture: Mapping[str, Any]) -> Sample:
    """Return small copies of training views, evenly chosen, and which are left out of which fit."""
    count = len(views)
    rows = [round(k * (count - 1) / (min(count, VIEWS) - 1)) for k in range(min(count, VIEWS))]
    small = [_small(capture["images"][k], capture["intrinsics"][k]) for k in rows]
    kept = torch.arange(len(capture["points"]))
    if len(kept) > POINTS:
        generator = torch.Generator().manual_seed(0)
        kept = torch.randperm(len(kept), generator=generator)[:POINTS].sort().values
    given = {
        "images": [image for image, _ in small],
        "intrinsics": torch.stack([K for _, K in small]),
        "viewmats": capture["viewmats"][rows],
        "points": capture["points"][kept],
        "colors": capture["colors"][kept],
        "masks": _masks(capture["masks"], rows, small),
        "tracks": _tracks(capture["tracks"], rows, kept),
        "exposures": None if capture["exposures"] is None else capture["exposures"][rows],
    }
    return Sample(given, folds(len(rows)))


def folds(count: int) -> list[list[int]]:
    """Return the rows of the views that each of two short fits leaves out, inner ones; of few views
    one fit leaves out one, of two views none, which both are then fitted and compared."""
    if count < 3:
        return [list(range(count))]
    if count < 6:
        return [[count // 2]]
    inner = list(range(1, count - 1))
    return [inner[::4], inner[2::4]]


def _small(image: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """A photograph (H, W, C) reduced to SIDE pixels, and its intrinsics."""
    values = image.detach().float() / (255 if image.dtype == torch.uint8 else 1)
    height, width = values.shape[:2]
    share = max(min(1.0, SIDE / max(height, width)), MIN_SIDE / min(height, width))
    size = (max(MIN_SIDE, round(height * share)), max(MIN_SIDE, round(width * share)))
    scaled = K.detach().clone().float()
    scaled[0] *= size[1] / width
    scaled[1] *= size[0] / height
    reduced = interpolate(values.permute(2, 0, 1)[None], size, mode="area")
    return reduced[0].permute(1, 2, 0).contiguous(), scaled


def _masks(masks: Any, rows: Sequence[int], small: Sequence[tuple[Tensor, Tensor]]) -> Any:
    """The masks of some views at the size of their small copies."""
    if masks is None:
        return None
    found = []
    for k, (image, _) in zip(rows, small, strict=True):
        mask = masks[k]
        if mask is not None:
            size = image.shape[:2]
            mask = interpolate(mask[None, None].float(), size, mode="area")[0, 0] > 0.5
        found.append(mask)
    return found


def _tracks(tracks: Any, rows: Sequence[int], kept: Tensor) -> Any:
    """The points that some views see, as rows of those that are kept."""
    if tracks is None:
        return None
    size = int(kept.max()) + 1 if len(kept) else 0
    place = torch.full(
        (max([size, *(int(tracks[k].max()) + 1 for k in rows if len(tracks[k]))]),), -1
    )
    place[kept] = torch.arange(len(kept))
    found = [place[tracks[k]] for k in rows]
    return [t[t >= 0] for t in found]


def trial_options(options: Options) -> Options:
    """Return the options of a short fit: no harmonics, and what shapes the scene as in the run."""
    fewest, most = ITERATIONS
    return attrs.evolve(
        options,
        iterations=min(max(options.iterations // PART, fewest), most),
        sh_degree=0,
        num_downscales=0,
        exposure=False,
        appearance="none",
        refine_cameras=False,
        refine_start_iter=None,
        refine_stop_iter=None,
        refine_every=None,
    )


@attrs.define
class Fits:
    """Short fits of one capture, whose small copies are made once.

    trainer: makes one from options and the trainer's arguments by name, of which `capture` has all.
    """

    trainer: Callable[..., Any]
    views: Sequence[View]
    capture: Mapping[str, Any]
    progress: Progress | None = None
    _sample: Sample | None = None

    def scores(self, options: Options) -> list[float]:
        """Return the PSNR in dB of every view left out of one of the fits with some options."""
        if self._sample is None:
            self._sample = sample(self.views, self.capture)
        given, found = self._sample.given, []
        settings = trial_options(options)
        total = settings.iterations * len(self._sample.folds)
        quiet = nullcontext(lambda _steps: None)
        trying = self.progress and self.progress(total, "trying priors")
        with trying or quiet as advance:
            for out in self._sample.folds:
                rows = [k for k in range(len(given["images"])) if k not in out] or list(out)
                machine = self.trainer(settings, _part(given, rows))
                for _ in machine.run():
                    advance(1)
                found += [_psnr(machine.scene, given, row) for row in out]
        return found


def _part(given: Mapping[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """The arguments of a trainer with only some views."""
    part = dict(given)
    for name in ("images", "masks", "tracks"):
        part[name] = None if given[name] is None else [given[name][k] for k in rows]
    for name in ("intrinsics", "viewmats", "exposures"):
        part[name] = None if given[name] is None else given[name][list(rows)]
    return part


def _psnr(scene: Any, given: Mapping[str, Any], row: int) -> float:
    """PSNR in dB of a view, inside its mask; at most 60."""
    image = given["images"][row]
    height, width = image.shape[:2]
    exposures, masks = given["exposures"], given["masks"]
    exposure = None if exposures is None else float(exposures[row])
    camera = (given["viewmats"][row], given["intrinsics"][row], width, height)
    error = (scene.render(*camera, exposure)[0].cpu() - image).square().mean(-1)
    if masks is not None and masks[row] is not None and bool(masks[row].any()):
        error = error[masks[row]]
    return -10 * math.log10(max(float(error.mean()), 1e-6))
