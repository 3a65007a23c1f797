"""The loop of a run: iterate, score the held-out views at intervals, keep what a resume needs."""

import time
from contextlib import suppress
from typing import Any

import torch
from attrs import asdict, define, field
from torch import Tensor

from kdst_core.contracts import Camera, Reconstruction, Scene
from kdst_core.errors import KdstError, MethodError
from kdst_core.plugins.method import Method
from kdst_core.runs.rundir import Run
from kdst_reconstruct.expected import (
    FIRST_ITERATIONS,
    FIRST_SECONDS,
    Deadline,
    Speed,
    announce,
)
from kdst_reconstruct.heldout import HeldOut
from kdst_reconstruct.lpips import Lpips
from kdst_reconstruct.measures import Score, score

SECONDS_BETWEEN_CHECKPOINTS = 5.0


@define
class Trace:
    """Scores of the held-out views as the fit went on; psnr (dB) and ssim are means over views."""

    iterations: list[int] = field(factory=list)
    psnr: list[float] = field(factory=list)
    ssim: list[float] = field(factory=list)
    gaussians: list[int] = field(factory=list)
    done: int = 0
    seconds: float = 0.0
    """Wall seconds of iterating, without scoring."""


def fit(
    method: Method,
    reconstruction: Reconstruction,
    heldout: HeldOut,
    run: Run,
    every: int,
    identity: str,
    deadline: Deadline | None = None,
) -> tuple[Scene, Trace]:
    """Carry the fit to its end and return the scene with the scores every `every` iterations.

    The scores choose nothing: no stopping, no best model. identity: a digest of the capture, by
    which a run refuses to continue with another one. The last state is a checkpoint too, from which
    a finished run can be extended. deadline: when the run has to end, for a method that keeps to a time.
    """
    trace = _restore(run, reconstruction, identity)
    loop = _Loop(method, reconstruction, heldout, run, every, identity, trace)
    before = trace.done
    begun = trace.seconds
    while loop.step() and trace.done - before < FIRST_ITERATIONS:
        if trace.seconds - begun > FIRST_SECONDS:
            break
    speed = Speed(trace.done - before, trace.seconds - begun)
    announce(run, speed, reconstruction.iterations - before, reconstruction)
    label = f"{method.name} on {run.device}"
    if getattr(reconstruction, "plan", ""):
        _by_the_clock(loop, label, deadline)
        return reconstruction.scene, trace
    with run.progress(reconstruction.iterations, label) as advance:
        advance(trace.done)
        while loop.step():
            advance(1)
    return reconstruction.scene, trace


def _by_the_clock(loop: "_Loop", label: str, deadline: Deadline | None) -> None:
    """Go on to the end of a fit that keeps to a time, whose iterations nobody knows before."""
    fit: Any = loop.reconstruction
    end_in = getattr(fit, "end_in", None)
    with loop.run.progress(100, f"{label}, % of the time") as advance:
        shown = 0
        while loop.step():
            now = int(100 * min(1.0, fit.share_done))
            advance(now - shown)
            shown = now
            left = deadline.left() if deadline else None
            if left is not None and end_in:
                end_in(left)


@define
class _Loop:
    """One iteration after another, with its scores and checkpoints."""

    method: Method
    reconstruction: Reconstruction
    heldout: HeldOut
    run: Run
    every: int
    identity: str
    trace: Trace
    saved: float = field(factory=time.perf_counter)
    cost: float = 0.0

    def step(self) -> bool:
        """Carry out one iteration; return whether there was one left."""
        item, seconds = _next(self.method, self.reconstruction)
        if item is None:
            return False
        trace = self.trace
        trace.done, scene = item
        trace.seconds += seconds
        last = trace.done >= self.reconstruction.iterations
        if trace.done % self.every == 0 or last:
            _record(self.method, trace, scene, self.heldout, self.run)
        started = time.perf_counter()
        if started - self.saved > max(SECONDS_BETWEEN_CHECKPOINTS, 20 * self.cost) or last:
            self.run.checkpoint(_state(trace, self.reconstruction, self.identity))
            if not last:
                self._show(scene)
            self.saved = time.perf_counter()
            self.cost = self.saved - started
        return True

    def _show(self, scene: Scene) -> None:
        """Save the scene where `kdst view` finds it while the fit goes on, in one step."""
        with self.method.working(), suppress(KdstError):
            scene.save(self.run.artifacts / "scene.ply")


def _next(method: Method, reconstruction: Reconstruction) -> tuple[tuple[int, Scene] | None, float]:
    """Carry out one iteration; return its number with the scene, or None at the end, and seconds."""
    started = time.perf_counter()
    with method.working():
        item = next(reconstruction, None)
    return item, time.perf_counter() - started


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


def _record(method: Method, trace: Trace, scene: Scene, heldout: HeldOut, run: Run) -> None:
    """Add one line to the trace and the events."""
    with method.working():
        size = len(scene)
    trace.iterations.append(trace.done)
    trace.gaussians.append(size)
    run.log("gaussians", size, trace.done)
    scores = score_views(method, scene, heldout)
    if scores:
        trace.psnr.append(sum(s.psnr for s in scores) / len(scores))
        trace.ssim.append(sum(s.ssim for s in scores) / len(scores))
        run.log("psnr.holdout", trace.psnr[-1], trace.done)
        run.log("ssim.holdout", trace.ssim[-1], trace.done)


def _state(trace: Trace, reconstruction: Reconstruction, identity: str) -> dict[str, Any]:
    """Return what a resumed run goes on from."""
    return {
        "identity": identity,
        "trace": asdict(trace),
        "reconstruction": reconstruction.state_dict(),
    }


def _restore(run: Run, reconstruction: Reconstruction, identity: str) -> Trace:
    """Take the state of the run's checkpoint; return its trace, an empty one in a fresh run."""
    state = run.restore()
    if state is None:
        return Trace()
    if state["identity"] != identity:
        raise KdstError(
            f"{run.dir} was started with another capture.\n"
            "Resume with the same, or give --out another directory"
        )
    reconstruction.load_state_dict(state["reconstruction"])
    return Trace(**state["trace"])
