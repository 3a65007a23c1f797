"""What a run leaves behind: scene, scores, pictures of held-out views, and a video."""

import json
import time
from pathlib import Path
from typing import Any

from attrs import asdict

from kdst_core.bench.contract import Job
from kdst_core.contracts import Camera, Scene
from kdst_core.files import write_atomically
from kdst_core.runs.rundir import Run, slug
from kdst_reconstruct import formats, pictures
from kdst_reconstruct.load import Target
from kdst_reconstruct.loop import FitState
from kdst_reconstruct.measures.views import rendered
from kdst_reconstruct.rendering import flight, paths
from kdst_reconstruct.saved_scene import Views

SECONDS_TO_END = 3.0
"""Of a run after its video: report and result."""
FRAME_PER_RENDER = 2.0
"""Time of a frame that is rendered and encoded, of that of rendering it."""


def write(
    run: Run,
    job: Job,
    target: Target,
    scene: Scene,
    state: FitState,
    scored: list[dict[str, Any]],
    warnings: list[str],
) -> dict[str, str]:
    """Write scene, curves, pictures and video; return their names and paths.

    `warnings` gets sentences on what files do not hold. scored: of every held-out view.
    """
    folder, method, inputs = run.artifacts, job.method, job.inputs
    with method.working():
        warnings.extend(scene.save(folder / "scene.ply") or ())
    write_atomically(folder / "trace.json", json.dumps({**asdict(state), "views": scored}))
    names = ["scene.ply", "trace.json", *_comparisons(folder, job, target, scene)]
    with method.working():
        names += formats.export(scene, folder, inputs.export, inputs.crop, warnings)
        frames = _frames(job, target, scene, warnings)
    if frames:
        views = Views(target.capture, target.holdout)
        cameras = paths.path(inputs.flight, scene, views, frames)
        with run.progress(frames, "flight") as advance, method.working():
            flight.write_video(scene, cameras, folder / "flight.mp4", advance)
        names.append("flight.mp4")
    return {name: f"artifacts/{name}" for name in names}


def _comparisons(folder: Path, job: Job, target: Target, scene: Scene) -> list[str]:
    """Write photograph, render and error map of every held-out view; return the files' names."""
    heldout = target.parts.heldout
    if target.holdout:
        (folder / "holdout").mkdir(exist_ok=True)
    names = []
    for number, index in enumerate(target.holdout):
        name = f"holdout/{index:03d}-{slug(Path(target.capture.names[index]).stem)}.png"
        rgb = rendered(job.method, scene, heldout.cameras[number])
        write_atomically(folder / name, pictures.comparison(heldout.photograph(number), rgb))
        names.append(name)
    return names


def _frames(job: Job, target: Target, scene: Scene, warnings: list[str]) -> int:
    """Return how many frames the video has: fewer where --minutes are almost over."""
    inputs = job.inputs
    if inputs.minutes is None or not inputs.flight_frames:
        return int(inputs.flight_frames)
    left = 60 * inputs.minutes - (time.monotonic() - target.started) - SECONDS_TO_END
    each = FRAME_PER_RENDER * seconds_per_render(scene, target.capture.cameras[0], 3)
    fit = max(0, min(inputs.flight_frames, int(left / each)))
    if fit < inputs.flight_frames:
        warnings.append(f"flight.mp4 has {fit} frames, as many as --minutes left time for.")
    return fit


def seconds_per_render(scene: Scene, camera: Camera, repeats: int = 9) -> float:
    """Return the median wall seconds of rendering one view."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        scene.render(camera)
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[repeats // 2]
