"""The loop of a run: iterate, score the held-out views at intervals, keep what a resume needs."""

import time
from contextlib import suppress
from typing import Any

from attrs import asdict, define, field

from kdst_core.bench.pacing import Pace
from kdst_core.contracts import Reconstruction, Scene
from kdst_core.errors import KdstError
from kdst_core.plugins.method import Method
from kdst_core.runs.rundir import Run
from kdst_reconstruct.expected import (
    FIRST_ITERATIONS,
    FIRST_SECONDS,
    Deadline,
    Speed,
    announce,
)
from kdst_reconstruct.holdout.views import HeldOut
from kdst_reconstruct.measures.views import score_views
from kdst_reconstruct.saved_scene import SCENE

SECONDS_BETWEEN_CHECKPOINTS = 5.0


@define
class FitState:
    """How far a fit is: scores of the held-out views so far; psnr (dB) and ssim are means over views."""

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
) -> tuple[Scene, FitState]:
    """Carry the fit to its end and return the scene with the scores every `every` iterations.

    The scores choose nothing: no stopping, no best model. identity: a digest of the capture, by
    which a run refuses to continue with another one. The last state is a checkpoint too, from which
    a finished run can be extended. deadline: when the run has to end, for a method that keeps to a time.
    """
    state = _restore(run, reconstruction, identity)
    loop = _Loop(method, reconstruction, heldout, run, every, identity, state)
    before = state.done
    begun = state.seconds
    while loop.step() and state.done - before < FIRST_ITERATIONS:
        if state.seconds - begun > FIRST_SECONDS:
            break
    speed = Speed(state.done - before, state.seconds - begun)
    announce(run, speed, reconstruction.iterations - before, reconstruction)
    label = f"{method.name} on {run.device}"
    if getattr(reconstruction, "plan", ""):
        _by_the_clock(loop, label, deadline)
        return reconstruction.scene, state
    with run.progress(reconstruction.iterations, label) as advance:
        advance(state.done)
        while loop.step():
            advance(1)
    return reconstruction.scene, state


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
    state: FitState
    pace: Pace = field(factory=lambda: Pace(SECONDS_BETWEEN_CHECKPOINTS))

    def step(self) -> bool:
        """Carry out one iteration; return whether there was one left."""
        item, seconds = _next(self.method, self.reconstruction)
        if item is None:
            return False
        state = self.state
        state.done, scene = item
        state.seconds += seconds
        last = state.done >= self.reconstruction.iterations
        if state.done % self.every == 0 or last:
            _record(self.method, state, scene, self.heldout, self.run)
        if self.pace.due() or last:
            self.pace.write(lambda: self._save(scene, last=last))
        return True

    def _save(self, scene: Scene, *, last: bool) -> None:
        """Write a checkpoint, and the scene where `kdst view` finds it while the fit goes on."""
        self.run.checkpoint(_state(self.state, self.reconstruction, self.identity))
        if not last:
            with self.method.working(), suppress(KdstError):
                scene.save(self.run.dir / SCENE)


def _next(method: Method, reconstruction: Reconstruction) -> tuple[tuple[int, Scene] | None, float]:
    """Carry out one iteration; return its number with the scene, or None at the end, and seconds."""
    started = time.perf_counter()
    with method.working():
        item = next(reconstruction, None)
    return item, time.perf_counter() - started


def _record(method: Method, state: FitState, scene: Scene, heldout: HeldOut, run: Run) -> None:
    """Add one line to the state and the events."""
    with method.working():
        size = len(scene)
    state.iterations.append(state.done)
    state.gaussians.append(size)
    run.log("gaussians", size, state.done)
    scores = score_views(method, scene, heldout)
    if scores:
        state.psnr.append(sum(s.psnr for s in scores) / len(scores))
        state.ssim.append(sum(s.ssim for s in scores) / len(scores))
        run.log("psnr.holdout", state.psnr[-1], state.done)
        run.log("ssim.holdout", state.ssim[-1], state.done)


def _state(state: FitState, reconstruction: Reconstruction, identity: str) -> dict[str, Any]:
    """Return what a resumed run goes on from."""
    return {
        "identity": identity,
        "trace": asdict(state),
        "reconstruction": reconstruction.state_dict(),
    }


def _restore(run: Run, reconstruction: Reconstruction, identity: str) -> FitState:
    """Take the state of the run's checkpoint; return its state, an empty one in a fresh run."""
    state = run.restore()
    if state is None:
        return FitState()
    if state["identity"] != identity:
        raise KdstError(
            f"{run.dir} was started with another capture.\n"
            "Resume with the same, or give --out another directory"
        )
    reconstruction.load_state_dict(state["reconstruction"])
    return FitState(**state["trace"])
