"""From options to a validated target: device, capture, held-out views, weights of LPIPS."""

import hashlib
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from kdst_core.bench.contract import Job
from kdst_core.bench.device import has_cuda, usable
from kdst_reconstruct import audit

if TYPE_CHECKING:
    from kdst_core.contracts import Capture
    from kdst_reconstruct.captures.source import Source
    from kdst_reconstruct.holdout.views import Parts
    from kdst_reconstruct.measures.lpips import Lpips


@frozen
class Target:
    """A capture, loaded and checked, of which some views are sealed.

    source: what its kind says of it, without photographs. perceptual: LPIPS, or None with the reason.
    identity: a digest of the photographs, the cameras and what is held out. started: when loading
    began, by the monotonic clock.
    """

    device: str
    source: "Source"
    holdout: list[int]
    perceptual: "tuple[Lpips | None, str]"
    parts: "Parts"
    identity: str
    started: float = 0.0

    @property
    def capture(self) -> "Capture":
        """All views, without their photographs."""
        return self.source.capture


def load(job: Job) -> Target:
    """Return the target of a job; KdstError for what cannot be used, before any work."""
    started = time.monotonic()
    inputs = job.inputs
    audit.check_inputs(inputs, job.options)
    device = usable(job.device if job.device != "auto" else automatic(job))
    from kdst_reconstruct.captures.source import load_source
    from kdst_reconstruct.holdout.choice import choose
    from kdst_reconstruct.holdout.views import Parts
    from kdst_reconstruct.measures.lpips import find

    source = load_source(inputs, job.objects.get("data"), job.show)
    images = source.capture.images
    holdout = choose(inputs.holdout, len(images), source.test)
    side = min((min(images[k].shape[:2]) for k in holdout), default=0)
    perceptual = find(inputs.lpips, side) if holdout else (None, "no view is held out")
    digest = identity(source.capture, holdout)
    parts = Parts.of(source.capture, holdout, source.test)
    source = evolve(source, capture=parts.outline)
    return Target(device, source, holdout, perceptual, parts, digest, started)


def without_capture(job: Job) -> Job:
    """Return a job that no longer holds a live capture, of which the target has what is needed."""
    return evolve(job, objects={k: v for k, v in job.objects.items() if k != "data"})


def automatic(job: Job) -> str:
    """Return the device of `--device auto`: CUDA where there is one or the method needs it."""
    return "cuda" if has_cuda() or "cuda" in job.method.description.needs else "cpu"


def identity(capture: "Capture", holdout: Sequence[int]) -> str:
    """Return a digest of the photographs, the cameras and what is held out."""
    digest = hashlib.sha256(json.dumps(list(holdout)).encode())
    for image, camera in zip(capture.images, capture.cameras, strict=True):
        for tensor in (image, camera.K, camera.viewmat):
            digest.update(tensor.contiguous().numpy().tobytes())
    digest.update(capture.points.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
