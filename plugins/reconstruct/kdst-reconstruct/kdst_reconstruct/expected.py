"""What a run will take, said before it starts, and when one that keeps to a time has to end."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from attrs import define, field

from kdst_core import memory
from kdst_core.errors import KdstError
from kdst_core.runs.rundir import Run

FIRST_SECONDS, FIRST_ITERATIONS = 2.0, 20
"""Wall seconds, or iterations, that the speed is measured over."""
AFTER = 6.0
"""Seconds that the report and what else comes after a fit takes, whatever the photographs."""
SECONDS_A_FRAME, SECONDS_A_VIEW = 1.2e-7, 2e-6
"""A pixel: of rendering and encoding one frame, and of scoring and picturing one held-out view."""
EXPORT = 3.0
"""Seconds of writing a scene in one more format."""
POSES = 4.0
"""Seconds of fitting the pose of one held-out view, twice."""


WINDOW, SLOWEST = 3.0, 10.0
"""Seconds over which is seen how busy a machine is, and the most times slower that is believed."""


class Speed(NamedTuple):
    """Iterations that were timed first, and their wall seconds."""

    iterations: int
    seconds: float


@define
class Deadline:
    """When a run has to end, and how long what comes after its fit takes, on a machine at rest.

    ends: by the monotonic clock. after: seconds. While others use the machine, what comes after takes
    as many times longer as the process waits for its processors now.
    """

    ends: float
    after: float
    now: Callable[[], float] = time.monotonic
    worked: Callable[[], float] = time.process_time
    _wall: float = field(init=False)
    _cpu: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._wall, self._cpu = self.now(), self.worked()

    def left(self) -> float | None:
        """Return how many seconds the fit has left, None until enough was seen since the last time."""
        wall, cpu = self.now() - self._wall, self.worked() - self._cpu
        if wall < WINDOW:
            return None
        self._wall, self._cpu = self.now(), self.worked()
        waits = max(1.0, min(wall / max(cpu, 1e-3), SLOWEST))
        return self.ends - self._wall - waits * self.after


def announce(run: Run, speed: Speed, total: int, reconstruction: Any) -> None:
    """Say how long a run will take and how much memory, by the speed of its first iterations.

    A reconstruction that grows may have `foreseen()`: how many times longer an iteration takes on
    the average than at first, and the bytes that its memory still grows by.
    """
    planned: str = getattr(reconstruction, "plan", "")
    if run.show == "quiet" or not speed.iterations or planned:
        return
    slower, more = getattr(reconstruction, "foreseen", lambda: (1.0, 0))()
    seconds = slower * total * speed.seconds / speed.iterations
    rate = speed.iterations / max(speed.seconds, 1e-9)
    print(
        f"Expected: {duration(seconds)} for {total:,} iterations ({rate:.3g} a second at first) and"
        f" {memory.as_text(memory.peak() + more)} of memory.",
        file=sys.stderr,
        flush=True,
    )


def announce_plan(run: Run, minutes: float | None, reconstruction: Any) -> None:
    """Say what a method chose so that a run ends in time.

    Raises KdstError for a method that does not keep to a time.
    """
    if minutes is None:
        return
    chosen = getattr(reconstruction, "plan", "")
    if not chosen:
        raise KdstError("--minutes: this method does not keep to a time; give --iterations")
    if run.show != "quiet":
        more = getattr(reconstruction, "foreseen", lambda: (1.0, 0))()[1]
        print(
            f"Expected: {duration(60 * minutes)} from the start, {chosen}, and"
            f" {memory.as_text(memory.peak() + more)} of memory.",
            file=sys.stderr,
            flush=True,
        )


def seconds_after(
    cameras: Sequence[Any],
    holdout: Sequence[int],
    frames: int,
    lpips: float = 0.0,
    exports: int = 0,
    align: str = "none",
) -> float:
    """Return about how long scores, pictures, video and report take after a fit, in seconds.

    lpips: seconds a pixel of LPIPS, 0 where it is not measured. exports: files besides scene.ply.
    align: what of held-out views is fitted, as --align names it.
    """
    pixels = max(camera.width * camera.height for camera in cameras)
    a_view = SECONDS_A_VIEW + lpips
    poses = POSES * len(holdout) * (align in ("pose", "both"))
    return (
        AFTER
        + poses
        + exports * EXPORT
        + pixels * (frames * SECONDS_A_FRAME + len(holdout) * a_view)
    )


def duration(seconds: float) -> str:
    """Return a time as people say it: about 40 s, 3 min, 2.5 h or 3 days."""
    if seconds < 100:
        return f"about {max(1, round(seconds))} s"
    if seconds < 100 * 60:
        return f"about {seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"about {seconds / 3600:.1f} h"
    return f"about {seconds / 86400:.0f} days ({seconds / 3600:.0f} h)"
