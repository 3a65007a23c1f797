"""One run: the fit, its scores, and what is kept of it."""

import time
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kdst_core.bench.contract import Job, Outcome
from kdst_core.bench.sealed import hidden
from kdst_core.errors import KdstError
from kdst_core.runs.rundir import EVENTS, Run
from kdst_reconstruct.load import Target

if TYPE_CHECKING:
    from kdst_reconstruct.expected import Deadline

LEAST = 5.0
"""Seconds for the fit below which a run with --minutes does not begin."""


@frozen
class PreparedReconstruct:
    """A run with its capture loaded and checked."""

    job: Job
    target: Target

    @property
    def device(self) -> str:
        """The device that the run takes place on."""
        return self.target.device

    def execute(self, run: Run) -> Outcome:
        """Fit a scene to the training views, score the others, write pictures and video."""
        from kdst_reconstruct.holdout.views import judging_files

        capture = self.target.capture
        names = [capture.names[k] for k in {*self.target.holdout, *self.target.source.test}]
        files = judging_files(self.job.inputs.data, names) if names else []
        with hidden([*files, run.dir / EVENTS, *run.checkpoints.files]):
            return self._execute(run)

    def _execute(self, run: Run) -> Outcome:
        """Do the work of `execute`."""
        import torch

        from kdst_core.contracts import ReconstructRequest
        from kdst_reconstruct.expected import announce_plan
        from kdst_reconstruct.loop import fit
        from kdst_reconstruct.outcome import Fitted, outcome

        job, target = self.job, self.target
        generator = torch.Generator().manual_seed(job.seed)
        seconds = self._seconds_to_fit()
        request = ReconstructRequest(
            target.parts.training, generator, target.source.iterations, seconds
        )
        reconstruction: Any = job.method.call(request, job.options, run)
        announce_plan(run, job.inputs.minutes, reconstruction)
        scene, state = fit(
            job.method,
            reconstruction,
            target.parts.heldout,
            run,
            job.inputs.score_every,
            target.identity,
            self._deadline(),
        )
        return outcome(run, job, target, Fitted(reconstruction, scene, state))

    def _seconds_to_fit(self) -> float | None:
        """Return what is left of --minutes for the fit, without what comes after it.

        Raises KdstError when hardly anything is left.
        """
        minutes = self.job.inputs.minutes
        if minutes is None:
            return None
        gone = time.monotonic() - self.target.started
        after = self._seconds_after()
        left = 60 * minutes - gone - after
        if left < LEAST:
            raise KdstError(
                f"--minutes {minutes:g}: {gone:.0f} s are gone before the fit, and about"
                f" {after:.0f} s are needed after it.\nGive more minutes, or --flight-frames 0"
            )
        return float(left)

    def _seconds_after(self) -> float:
        """Return about how long what comes after the fit takes."""
        from kdst_reconstruct.expected import seconds_after

        inputs, lpips = self.job.inputs, self.target.perceptual[0]
        return seconds_after(
            self.target.capture.cameras,
            self.target.holdout,
            inputs.flight_frames,
            0.0 if lpips is None else lpips.seconds_a_pixel(),
            len(set(inputs.export) - {"ply"}),
            inputs.align,
        )

    def _deadline(self) -> "Deadline | None":
        """Return when the run has to end, None without --minutes."""
        from kdst_reconstruct.expected import Deadline

        minutes = self.job.inputs.minutes
        if minutes is None:
            return None
        return Deadline(self.target.started + 60 * minutes, self._seconds_after())
