"""A prepared run of `reconstruct`: carries it out and measures it."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kdst_core import memory
from kdst_core.bench.contract import Job, Outcome
from kdst_core.bench.sealed import hidden
from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_core.runs.rundir import EVENTS, Run, slug

if TYPE_CHECKING:
    from kdst_core.contracts import Capture, Scene
    from kdst_reconstruct.captures import Source
    from kdst_reconstruct.expected import Deadline
    from kdst_reconstruct.heldout import HeldOut, Parts
    from kdst_reconstruct.lpips import Lpips
    from kdst_reconstruct.protocol import Trace


SECONDS_TO_END = 3.0
"""Of a run after its video: report and result."""
FRAME_PER_RENDER = 2.0
"""Time of a frame that is rendered and encoded, of that of rendering it."""


@frozen
class PreparedReconstruct:
    """A run with its capture loaded and checked."""

    job: Job
    device: str
    source: "Source"
    holdout: list[int]
    perceptual: "tuple[Lpips | None, str]"
    parts: "Parts"
    identity: str
    """A digest of the photographs, the cameras and what is held out."""
    started: float = 0.0
    """When preparation began, by the monotonic clock."""

    @property
    def capture(self) -> "Capture":
        """All views, without their photographs."""
        return self.source.capture

    def execute(self, run: Run) -> Outcome:
        """Fit a scene to the training views, score the others, write pictures and video."""
        from kdst_reconstruct.heldout import judging_files

        names = [self.capture.names[k] for k in {*self.holdout, *self.source.test}]
        files = judging_files(self.job.inputs.data, names) if names else []
        with hidden([*files, run.dir / EVENTS, *run.checkpoints.files]):
            return self._execute(run)

    def _execute(self, run: Run) -> Outcome:
        """Do the work of `execute`."""
        import torch

        from kdst_core.contracts import ReconstructRequest
        from kdst_reconstruct.expected import announce_plan
        from kdst_reconstruct.protocol import fit

        training, heldout = self.parts.training, self.parts.heldout
        generator = torch.Generator().manual_seed(self.job.seed)
        seconds = self._seconds_to_fit()
        request = ReconstructRequest(training, generator, self.source.iterations, seconds)
        method = self.job.method
        reconstruction = method.call(request, self.job.options, run)
        announce_plan(run, self.job.inputs.minutes, reconstruction)
        every = self.job.inputs.score_every
        ends = self._deadline()
        scene, trace = fit(method, reconstruction, heldout, run, every, self.identity, ends)
        with method.working():
            metrics = _metrics(trace, scene, (heldout if self.holdout else training).cameras[0])
        placement = self.source.placement
        if placement is not None:
            metrics |= {"sfm.registered": placement.registered, "sfm.images": placement.images}
        lpips, net = self.perceptual
        scored = self._view_scores(scene, heldout)
        if lpips:
            metrics["lpips.holdout"] = sum(view["lpips"] for view in scored) / len(scored)
        priors = [_prior(p) for p in getattr(reconstruction, "priors", ())]
        warnings = [*getattr(reconstruction, "notes", ()), *self._warnings(metrics)]
        return Outcome(
            metrics=metrics,
            artifacts=self._artifacts(run, scene, trace, heldout, scored, warnings),
            input={
                **self._protocol(),
                "iterations": trace.done,
                "lpips_net": net if lpips else f"not measured: {net}",
            },
            warnings=warnings,
            summary=[*_summary(metrics, self.holdout), *(p["said"] for p in priors)],
            extra={
                **({"priors": priors} if priors else {}),
                **({"plan": reconstruction.plan} if seconds is not None else {}),
            },
        )

    def _seconds_to_fit(self) -> float | None:
        """Return what is left of --minutes for the fit, without what comes after it.

        Raises KdstError when hardly anything is left.
        """
        minutes = self.job.inputs.minutes
        if minutes is None:
            return None
        gone = time.monotonic() - self.started
        after = self._seconds_after()
        left = 60 * minutes - gone - after
        if left < 5:
            raise KdstError(
                f"--minutes {minutes:g}: {gone:.0f} s are gone before the fit, and about"
                f" {after:.0f} s are needed after it.\nGive more minutes, or --flight-frames 0"
            )
        return left

    def _seconds_after(self) -> float:
        """Return about how long what comes after the fit takes."""
        from kdst_reconstruct.expected import seconds_after

        return seconds_after(self.capture.cameras, self.holdout, self.job.inputs.flight_frames)

    def _deadline(self) -> "Deadline | None":
        """Return when the run has to end, None without --minutes."""
        from kdst_reconstruct.expected import Deadline

        minutes = self.job.inputs.minutes
        if minutes is None:
            return None
        return Deadline(self.started + 60 * minutes, self._seconds_after())

    def _frames(self, scene: "Scene", warnings: list[str]) -> int:
        """Return how many frames the video has: fewer where --minutes are almost over."""
        inputs = self.job.inputs
        if inputs.minutes is None or not inputs.flight_frames:
            return int(inputs.flight_frames)
        left = 60 * inputs.minutes - (time.monotonic() - self.started) - SECONDS_TO_END
        each = FRAME_PER_RENDER * _seconds_per_render(scene, self.capture.cameras[0], 3)
        fit = max(0, min(inputs.flight_frames, int(left / each)))
        if fit < inputs.flight_frames:
            warnings.append(f"flight.mp4 has {fit} frames, as many as --minutes left time for.")
        return fit

    def _view_scores(self, scene: "Scene", heldout: "HeldOut") -> list[dict[str, Any]]:
        """Return name, psnr, ssim and, where it is measured, lpips of every held-out view."""
        from kdst_reconstruct.protocol import lpips_of, score_views

        seen = (self.job.method, scene, heldout)
        scored = [
            {"name": name, **score._asdict()}
            for name, score in zip(heldout.names, score_views(*seen), strict=True)
        ]
        lpips, _ = self.perceptual
        distances = lpips_of(*seen, lpips) if lpips else []
        for view, distance in zip(scored, distances, strict=bool(lpips)):
            view["lpips"] = distance
        return scored

    def _protocol(self) -> dict[str, Any]:
        """Return everything that decides what was measured."""
        cameras = self.capture.cameras
        return {
            "views": len(cameras),
            "held_out": self.holdout,
            "held_out_names": [self.capture.names[k] for k in self.holdout],
            "sizes": sorted({f"{c.width}x{c.height}" for c in cameras}),
            "points": len(self.capture.points),
            "exposures_known": sum(c.exposure is not None for c in cameras),
            "masks": self.parts.masks,
            "capture_digest": self.identity,
        }

    def _inner_held_out(self) -> bool:
        """Return whether there are too few views to hold out every 8th."""
        automatic = self.job.inputs.holdout == "auto" and not self.source.test
        return automatic and len(self.capture.cameras) < 20

    def _warnings(self, metrics: Mapping[str, float]) -> list[str]:
        """Return what a reader of the figures must know."""
        placement = self.source.placement
        found = [*self.source.said, *([] if placement is None else placement.warnings())]
        found += self._unused()
        if not self.holdout:
            found.append("No view was held out, so nothing says how well new views are rendered.")
        elif self._inner_held_out():
            found.append(
                f"Fewer than 20 views: held out are inner ones ({_list(self.holdout)}), not every"
                " 8th from the first; compare only with runs that hold out the same."
            )
        drop = metrics.get("psnr.best", 0) - metrics.get("psnr.holdout", 0)
        if drop > 0.3:
            found.append(
                f"The end is {drop:.2f} dB below the best score seen: the scene overfits its views;"
                " fewer iterations may serve it better."
            )
        return found

    def _unused(self) -> list[str]:
        """Return sentences on the bench's options that have no effect on this capture."""
        inputs, live = self.job.inputs, self.job.objects.get("data") is not None
        masked = inputs.alpha == "mask" and any(m is not None for m in self.capture.masks or ())
        raw = self.source.placement is not None
        said: list[str] = inputs.unused(
            raw=raw,
            video=raw and not live and Path(inputs.data).expanduser().is_file(),
            scored=bool(self.holdout),
            seen_through=live or masked or self.capture.background is not None,
        )
        widest = max(camera.width for camera in self.capture.cameras)
        if inputs.width is not None and inputs.width > widest:
            said.append(
                f"--width {inputs.width} has no effect: the photographs are at most {widest} pixels"
                " wide, and are not enlarged."
            )
        return said

    def _artifacts(
        self,
        run: Run,
        scene: "Scene",
        trace: "Trace",
        heldout: "HeldOut",
        scored: list[dict[str, Any]],
        warnings: list[str],
    ) -> dict[str, str]:
        """Write scene, curves, pictures and video; return their names and paths."""
        from attrs import asdict

        from kdst_reconstruct import flight, formats, pictures, renders
        from kdst_reconstruct.opened import Views
        from kdst_reconstruct.protocol import rendered

        folder, method = run.artifacts, self.job.method
        with method.working():
            warnings.extend(scene.save(folder / "scene.ply") or ())
        write_atomically(folder / "trace.json", json.dumps({**asdict(trace), "views": scored}))
        names = ["scene.ply", "trace.json"]
        if self.holdout:
            (folder / "holdout").mkdir(exist_ok=True)
        for number, index in enumerate(self.holdout):
            name = f"holdout/{index:03d}-{slug(Path(self.capture.names[index]).stem)}.png"
            rgb = rendered(method, scene, heldout.cameras[number])
            write_atomically(folder / name, pictures.comparison(heldout.photograph(number), rgb))
            names.append(name)
        inputs = self.job.inputs
        with method.working():
            names += formats.export(scene, folder, inputs.export, inputs.crop, warnings)
            frames = self._frames(scene, warnings)
        if frames:
            views = Views(self.capture, self.holdout)
            path = renders.path(inputs.flight, scene, views, frames)
            with run.progress(frames, "flight") as advance, method.working():
                flight.write_video(scene, path, folder / "flight.mp4", advance)
            names.append("flight.mp4")
        return {name: f"artifacts/{name}" for name in names}


def _prior(prior: Any) -> dict[str, Any]:
    """Return what a method assumed of the scene, or tried to, as the result holds it."""
    return {name: getattr(prior, name, None) for name in ("name", "kept", "gain", "said")}


def identity(capture: "Capture", holdout: Sequence[int]) -> str:
    """Return a digest of the photographs, the cameras and what is held out."""
    digest = hashlib.sha256(json.dumps(list(holdout)).encode())
    for image, camera in zip(capture.images, capture.cameras, strict=True):
        for tensor in (image, camera.K, camera.viewmat):
            digest.update(tensor.contiguous().numpy().tobytes())
    digest.update(capture.points.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _metrics(trace: "Trace", scene: "Scene", camera: Any) -> dict[str, float]:
    """Return the flat metrics of a run."""
    metrics = {
        "gaussians": len(scene),
        "iterations": trace.done,
        "iterations_per_second": trace.done / max(trace.seconds, 1e-9),
        "render_fps": 1 / _seconds_per_render(scene, camera),
        "peak_memory_mb": memory.peak() / 2**20,
    }
    if trace.psnr:
        metrics |= {
            "psnr.holdout": trace.psnr[-1],
            "ssim.holdout": trace.ssim[-1],
            "psnr.best": max(trace.psnr),
        }
    return metrics


def _seconds_per_render(scene: "Scene", camera: Any, repeats: int = 9) -> float:
    """Return the median wall seconds of rendering one view."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        scene.render(camera)
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[repeats // 2]


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
    lines.append(
        f"{metrics['gaussians']:,} Gaussians after {metrics['iterations']:,} iterations,"
        f" {metrics['iterations_per_second']:.1f} a second; renders"
        f" {metrics['render_fps']:.0f} frames a second; peak memory"
        f" {metrics['peak_memory_mb']:.0f} MiB"
    )
    return lines
