"""What a run tells: metrics, warnings, what was measured on, and lines of the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_core import memory
from kdst_core.bench.contract import Job, Outcome
from kdst_core.contracts import Camera, Scene
from kdst_core.runs.rundir import Run
from kdst_reconstruct.artifacts import seconds_per_render, write
from kdst_reconstruct.load import Target
from kdst_reconstruct.loop import FitState
from kdst_reconstruct.measures.alignment import kinds_of, score_aligned
from kdst_reconstruct.measures.views import lpips_of, score_views

FEW = 20
"""Views below which inner ones are held out."""
ALIGNED = "{} of each held-out view fitted to one half of it and scored on the other, both ways"
"""What the aligned figures are, with what was fitted."""
OVERFITTED = 0.3
"""dB below the best score seen from which on that is said."""


@frozen
class Fitted:
    """A fit at its end: the method's reconstruction, its scene, and how it went."""

    reconstruction: Any
    scene: Scene
    state: FitState


def outcome(run: Run, job: Job, target: Target, fitted: Fitted) -> Outcome:
    """Score the held-out views, write all artifacts, and return what the result holds."""
    reconstruction, scene, state = fitted.reconstruction, fitted.scene, fitted.state
    heldout = target.parts.heldout
    with job.method.working():
        seen = heldout if target.holdout else target.parts.training
        metrics = _metrics(state, scene, seen.cameras[0])
    placement = target.source.placement
    if placement is not None:
        metrics |= {"sfm.registered": placement.registered, "sfm.images": placement.images}
    lpips, net = target.perceptual
    scored = _view_scores(job, target, scene)
    kinds = _aligned(job, target, reconstruction)
    if kinds:
        metrics |= _score_aligned(job, target, scene, kinds, scored)
    if lpips:
        metrics["lpips.holdout"] = sum(view["lpips"] for view in scored) / len(scored)
    priors = [_prior(p) for p in getattr(reconstruction, "priors", ())]
    warnings = [*getattr(reconstruction, "notes", ()), *_warnings(job, target, metrics)]
    artifacts = write(run, job, target, scene, state, scored, warnings)
    return Outcome(
        metrics=metrics,
        artifacts=artifacts,
        input={
            **_protocol(target),
            "iterations": state.done,
            "lpips_net": net if lpips else f"not measured: {net}",
            **({"aligned": ALIGNED.format(" and ".join(kinds))} if kinds else {}),
        },
        warnings=warnings,
        summary=[*_summary(metrics, target.holdout), *(p["said"] for p in priors)],
        extra={
            **({"priors": priors} if priors else {}),
            **({"plan": reconstruction.plan} if job.inputs.minutes is not None else {}),
        },
    )


def _prior(prior: Any) -> dict[str, Any]:
    """Return what a method assumed of the scene, or tried to, as the result holds it."""
    return {name: getattr(prior, name, None) for name in ("name", "kept", "gain", "said")}


def _metrics(state: FitState, scene: Scene, camera: Camera) -> dict[str, float]:
    """Return the flat metrics of a run."""
    metrics = {
        "gaussians": len(scene),
        "iterations": state.done,
        "iterations_per_second": state.done / max(state.seconds, 1e-9),
        "render_fps": 1 / seconds_per_render(scene, camera),
        "peak_memory_mb": memory.peak() / 2**20,
    }
    if state.psnr:
        metrics |= {
            "psnr.holdout": state.psnr[-1],
            "ssim.holdout": state.ssim[-1],
            "psnr.best": max(state.psnr),
        }
    return metrics


def _view_scores(job: Job, target: Target, scene: Scene) -> list[dict[str, Any]]:
    """Return name, psnr, ssim and, where it is measured, lpips of every held-out view."""
    heldout, (lpips, _) = target.parts.heldout, target.perceptual
    seen = (job.method, scene, heldout)
    scored = [
        {"name": name, **score._asdict()}
        for name, score in zip(heldout.names, score_views(*seen), strict=True)
    ]
    distances = lpips_of(*seen, lpips) if lpips else []
    for view, distance in zip(scored, distances, strict=bool(lpips)):
        view["lpips"] = distance
    return scored


def _aligned(job: Job, target: Target, reconstruction: Any) -> tuple[str, ...]:
    """Return what is fitted to held-out views before they are scored once more; by --minutes only what
    was asked for, since the time after the fit has to be known."""
    if not target.holdout:
        return ()
    free = job.inputs.minutes is None
    return kinds_of(job.inputs.align, getattr(reconstruction, "alignment", ()) if free else ())


def _score_aligned(
    job: Job, target: Target, scene: Scene, kinds: tuple[str, ...], scored: list[dict[str, Any]]
) -> dict[str, float]:
    """Add the scores after alignment to those of every view, and return their means as metrics."""
    found = score_aligned(job.method, scene, target.parts.heldout, kinds)
    for view, aligned in zip(scored, found, strict=True):
        view |= {"psnr_aligned": aligned.psnr, "ssim_aligned": aligned.ssim}
    return {
        "psnr.aligned": sum(a.psnr for a in found) / len(found),
        "ssim.aligned": sum(a.ssim for a in found) / len(found),
    }


def _protocol(target: Target) -> dict[str, Any]:
    """Return everything that decides what was measured."""
    cameras = target.capture.cameras
    return {
        "views": len(cameras),
        "held_out": target.holdout,
        "held_out_names": [target.capture.names[k] for k in target.holdout],
        "sizes": sorted({f"{c.width}x{c.height}" for c in cameras}),
        "points": len(target.capture.points),
        "exposures_known": sum(c.exposure is not None for c in cameras),
        "masks": target.parts.masks,
        "capture_digest": target.identity,
    }


def _warnings(job: Job, target: Target, metrics: Mapping[str, float]) -> list[str]:
    """Return what a reader of the figures must know."""
    source = target.source
    said = [*source.said, *([] if source.placement is None else source.placement.warnings())]
    said += _unused(job, target)
    if not target.holdout:
        said.append("No view was held out, so nothing says how well new views are rendered.")
    elif job.inputs.holdout == "auto" and not source.test and len(target.capture.cameras) < FEW:
        said.append(
            f"Fewer than 20 views: held out are inner ones ({_list(target.holdout)}), not every"
            " 8th from the first; compare only with runs that hold out the same."
        )
    drop = metrics.get("psnr.best", 0) - metrics.get("psnr.holdout", 0)
    if drop > OVERFITTED:
        said.append(
            f"The end is {drop:.2f} dB below the best score seen: the scene overfits its views;"
            " fewer iterations may serve it better."
        )
    return said


def _unused(job: Job, target: Target) -> list[str]:
    """Return sentences on the bench's options that have no effect on this capture."""
    inputs, capture = job.inputs, target.capture
    masked = inputs.alpha == "mask" and target.parts.masks > 0
    raw = target.source.placement is not None
    said: list[str] = inputs.unused(
        raw=raw,
        video=raw and Path(inputs.data).expanduser().is_file(),
        scored=bool(target.holdout),
        seen_through=masked or capture.background is not None,
    )
    widest = max(camera.width for camera in capture.cameras)
    if inputs.width is not None and inputs.width > widest:
        said.append(
            f"--width {inputs.width} has no effect: the photographs are at most {widest} pixels"
            " wide, and are not enlarged."
        )
    return said


def _list(indices: list[int]) -> str:
    """Return indices as text."""
    return ", ".join(map(str, indices))


def _summary(metrics: Mapping[str, float], holdout: list[int]) -> list[str]:
    """Return lines for the terminal."""
    lines = []
    if holdout:
        lines.append(
            f"held-out views {_list(holdout)}: PSNR {metrics['psnr.holdout']:.2f} dB"
            f" (best seen {metrics['psnr.best']:.2f}), SSIM {metrics['ssim.holdout']:.3f}"
        )
    if "psnr.aligned" in metrics:
        lines.append(
            f"after alignment to the other half of each view: PSNR {metrics['psnr.aligned']:.2f} dB,"
            f" SSIM {metrics['ssim.aligned']:.3f}"
        )
    lines.append(
        f"{metrics['gaussians']:,} Gaussians after {metrics['iterations']:,} iterations,"
        f" {metrics['iterations_per_second']:.1f} a second; renders"
        f" {metrics['render_fps']:.0f} frames a second; peak memory"
        f" {metrics['peak_memory_mb']:.0f} MiB"
    )
    return lines
