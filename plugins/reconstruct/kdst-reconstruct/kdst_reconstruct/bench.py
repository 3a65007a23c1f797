"""The bench of `reconstruct`: prepares a run, carries it out, and reports on it."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve

from kdst_core.bench.compare import Column
from kdst_core.bench.contract import Check, Job
from kdst_core.bench.device import has_cuda, usable
from kdst_core.bench.library import Library
from kdst_core.errors import KdstError
from kdst_core.plugins.method import Method
from kdst_core.reports.blocks import ReportContent
from kdst_core.runs.codecs import TorchCodec
from kdst_core.runs.rundir import Run
from kdst_reconstruct.formats import corners
from kdst_reconstruct.inputs import ReconstructInputs
from kdst_reconstruct.prepared import PreparedReconstruct


class ReconstructBench:
    """The bench that the entry point `reconstruct` of the group `kdst.benches` names."""

    capability = "reconstruct"
    package = "kdst-reconstruct"
    inputs = ReconstructInputs
    live = frozenset({"data"})
    codec = TorchCodec()
    headline = (Column("psnr.holdout", "held out, dB", 1.0),)
    """What a list of runs says of one."""

    def prepare(self, job: Job) -> PreparedReconstruct:
        """Load and check device, capture and held-out views."""
        started = time.monotonic()
        inputs: ReconstructInputs = job.inputs
        if inputs.minutes and getattr(job.options, "iterations", 0):
            raise KdstError("--minutes and --iterations exclude each other: give one of them")
        device = usable(job.device if job.device != "auto" else automatic(job))
        if inputs.crop:
            corners(inputs.crop)
        from kdst_reconstruct.captures import load_source
        from kdst_reconstruct.heldout import Parts
        from kdst_reconstruct.holdout import choose
        from kdst_reconstruct.lpips import find
        from kdst_reconstruct.prepared import identity

        source = load_source(inputs, job.objects.get("data"), job.show)
        images = source.capture.images
        holdout = choose(inputs.holdout, len(images), source.test)
        side = min((min(images[k].shape[:2]) for k in holdout), default=0)
        found = find(inputs.lpips, side) if holdout else (None, "no view is held out")
        digest = identity(source.capture, holdout)
        parts = Parts.of(source.capture, holdout, source.test)
        job = evolve(job, objects={k: v for k, v in job.objects.items() if k != "data"})
        source = evolve(source, capture=parts.outline)
        return PreparedReconstruct(job, device, source, holdout, found, parts, digest, started)

    def extends(self, result: Mapping[str, Any], changed: Mapping[str, tuple[Any, Any]]) -> bool:
        """Return whether only more iterations are asked for; KdstError when there are as many."""
        if set(changed) != {"iterations"}:
            return False
        done, wanted = int(result["metrics"]["iterations"]), int(changed["iterations"][1])
        if wanted <= done:
            raise KdstError(
                f"the run is finished with {done:,} iterations; give --iterations above that to"
                " extend it"
            )
        return True

    def library(self) -> Library:
        """Return the function behind `kdst_core.load(METHOD)(…)`."""
        from kdst_reconstruct.library import INPUTS, fitted

        return Library(partial(fitted, automatic), INPUTS)

    def report(self, result: Mapping[str, Any], directory: Path) -> ReportContent:
        """Build the report of a run."""
        from kdst_reconstruct.report import content

        return content(result, directory)

    def smoke(self, method: Method, options: Any, run: Run) -> str:
        """Fit a small capture for 20 iterations; return a digest of a rendered view."""
        from kdst_reconstruct.checks import small_capture, steps

        reconstruction, scene = steps(method, options, run, 20)
        camera = small_capture().cameras[0]
        rgb = scene.render(camera).rgb.detach().cpu().contiguous()
        scene.save(run.artifacts / "scene.ply")
        return hashlib.sha256(rgb.numpy().tobytes()).hexdigest() + str(reconstruction.iterations)

    def checks(self, method: Method) -> Iterator[Check]:
        """Yield the checks of a reconstruction method."""
        from kdst_reconstruct.checks import reconstruct_checks

        return reconstruct_checks(method)


def automatic(job: Job) -> str:
    """Return the device of `--device auto`: CUDA where there is one or the method needs it."""
    return "cuda" if has_cuda() or "cuda" in job.method.description.needs else "cpu"


bench = ReconstructBench()
