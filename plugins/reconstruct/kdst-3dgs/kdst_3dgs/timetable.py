"""What a fit that keeps to a time goes by: its plan, its clock, and the pace of its iterations."""

import time
from collections.abc import Callable

import attrs

from kdst_3dgs import budget


@attrs.define
class Timetable:
    """The plan of a fit that ends in time, made anew as the pace changes.

    side: shorter side of the smallest photograph, in pixels.
    """

    plan: budget.Plan
    clock: budget.Clock
    pace: budget.Pace
    side: int

    @classmethod
    def made(
        cls, seconds: float, step: Callable[[float], None], count: int, side: int, most: int
    ) -> "Timetable":
        """Return what fits into some seconds, by the time that iterations take here.

        step: does the work of one at a share of the size. count, most: Gaussians now, and at most.
        """
        started = time.monotonic()
        fixed, by_pixels = budget.costs(step)
        left = max(1.0, seconds - (time.monotonic() - started))
        plan = budget.plan(left, fixed, by_pixels, count, side, most)
        return cls(plan, budget.Clock(left), budget.Pace(fixed, by_pixels, count), side)

    @property
    def share(self) -> float:
        """Share of the photographs' size now."""
        return self.clock.size(self.plan.share)

    @property
    def progress(self) -> float:
        """Share of the time that is gone, at most 1."""
        return min(1.0, self.clock.gone)

    @property
    def settled(self) -> bool:
        """Whether the number of Gaussians stays from now on."""
        return self.progress > budget.CONTROL

    def end(self, iteration: int) -> int:
        """Return the iteration at which the fit ends, as the time gone so far promises."""
        gone = self.clock.gone
        if gone >= 1:
            return iteration
        return max(iteration + 1, round(iteration / max(gone, 0.01)))

    def took(self, seconds: float, iteration: int, count: int) -> None:
        """Take account of an iteration, and choose the size anew where they became slower or faster."""
        self.pace.took(seconds, self.share, count)
        anew = self.pace.plan_anew(self.clock, count, self.side, self.plan.gaussians)
        if anew is not None:
            total = iteration + anew.iterations
            self.plan = attrs.evolve(self.plan, share=anew.share, iterations=total)
