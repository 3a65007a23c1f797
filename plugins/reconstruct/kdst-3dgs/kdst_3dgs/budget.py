"""A fit that ends when its time is up: size, number of Gaussians and iterations from measured speed.

The cost of an iteration is a part that grows with the pixels and one that does not. Both are timed on
the scene to start from. Then the largest pictures are taken that leave enough iterations, and all
that a fit does by the count of its iterations follows the clock instead, so that it ends in time
whatever else the machine does. Small pictures come first. Where iterations become slower or faster than
they were when the choice was made, as on a machine that others use too, the size is chosen anew.
"""

import time
from collections.abc import Callable
from typing import Any

import attrs

ENOUGH = 1500
"""Iterations that pictures must leave time for; below, they get smaller."""
SHARES = (1.0, 0.84, 0.71, 0.59, 0.5, 0.42, 0.35, 0.3, 0.25)
"""Sizes that are tried, of the photographs' own."""
COARSE = ((0.15, 0.25), (0.4, 0.5))
"""Until these shares of the time, pictures have these shares of the size that was chosen."""
GROWTH = (1.5, 6.0)
"""Fewest and most times that Gaussians may become as many."""
SMALLEST = 96
"""Pixels of a picture's shorter side that no choice goes below."""
LOOKED_AT = 0.05
"""Share of the time between looks at the pace."""
CHANGED = 1.3
"""Times slower or faster than expected that make the size be chosen anew."""
WEIGHT = 0.1
"""Of the last iteration in the pace."""
CONTROL = 2 / 3
"""Share of the time after which the number of Gaussians stays, as in a fit by iterations."""


@attrs.frozen
class Plan:
    """What fits into the time: share of the photographs' size, most Gaussians, iterations."""

    share: float
    gaussians: int
    iterations: int


def pixels_left(gone: float = 0.0) -> float:
    """Return the pixels of a mean iteration from a share of the time on, of one at the end."""
    total, begun = 0.0, gone
    for until, part in (*COARSE, (1.0, 1.0)):
        total += part**2 * max(0.0, until - begun)
        begun = max(begun, until)
    return total / max(1 - gone, 1e-6)


def plan(
    seconds: float,
    fixed: float,
    by_pixels: float,
    count: int,
    side: int,
    most: int,
    gone: float = 0.0,
) -> Plan:
    """Return what fits into some seconds, after a share of the fit's time is gone.

    fixed, by_pixels: seconds of an iteration at full size, with `count` Gaussians, that do not and
    that do depend on the pixels. side: shorter side of the photographs. most: iterations and
    Gaussians are at most 30,000 and this.
    """
    allowed = seconds / (ENOUGH * (1 - gone))
    low, high = GROWTH
    for share in SHARES:
        pixels = by_pixels * share**2 * pixels_left(gone)
        last = share == SHARES[-1] or share * side * 0.84 < SMALLEST
        if pixels + fixed * (1 + low) / 2 <= allowed or last:
            break
    room = 2 * (allowed - pixels) / max(fixed, 1e-9) - 1
    growth = min(max(room, low), high)
    mean = pixels + fixed * (1 + growth) / 2
    return Plan(
        share,
        min(most, max(count, int(growth * count))),
        min(30_000, max(1, int(seconds / max(mean, 1e-9)))),
    )


@attrs.define
class Clock:
    """Tells how much of the time is gone.

    begun: share that an earlier session used. seconds: of this session, which starts when `start`
    is called.
    """

    seconds: float
    now: Callable[[], float] = time.monotonic
    begun: float = 0.0
    _started: float = attrs.field(init=False)
    _left: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.go_on(self.begun)

    def go_on(self, begun: float) -> None:
        """Start anew with a share of the time gone."""
        self.begun, self._started = begun, self.now()
        self._left = max((1 - begun) * self.seconds, 1e-3)

    def end_in(self, seconds: float) -> None:
        """Make the time be over in some seconds from now; what is gone stays gone."""
        self.begun, self._started = min(self.gone, 0.999), self.now()
        self._left = max(seconds, 1e-3)

    @property
    def left(self) -> float:
        """Seconds until the time is over."""
        return max(0.0, self._left - (self.now() - self._started))

    @property
    def gone(self) -> float:
        """Share of the time that is gone, from 0; 1 and above when it is over."""
        return self.begun + (1 - self.begun) * (self.now() - self._started) / self._left

    def size(self, share: float) -> float:
        """Return the share of the photographs' size now, coarse to fine up to `share`."""
        gone = self.gone
        return share * next((part for until, part in COARSE if gone < until), 1.0)


@attrs.define
class Pace:
    """Compares iterations with what was timed at first, and tells when to choose anew.

    fixed, by_pixels: as `plan` takes them, with `count` Gaussians. slower: how many times longer an
    iteration takes than these say. looked: share of the time that was gone at the last look.
    """

    fixed: float
    by_pixels: float
    count: int
    slower: float = 1.0
    planned: float = 1.0
    looked: float = 0.0

    def took(self, seconds: float, share: float, gaussians: int) -> None:
        """Take account of one iteration at a share of the size."""
        expected = self.fixed * gaussians / max(self.count, 1) + self.by_pixels * share**2
        self.slower += WEIGHT * (seconds / max(expected, 1e-9) - self.slower)

    def plan_anew(self, clock: Clock, gaussians: int, side: int, most: int) -> Plan | None:
        """Return what fits into the time that is left, None where nothing has changed or it is not
        yet time to look."""
        gone = clock.gone
        if gone < self.looked + LOOKED_AT or gone > 1 - LOOKED_AT:
            return None
        self.looked = gone
        if 1 / CHANGED < self.slower / self.planned < CHANGED:
            return None
        self.planned = self.slower
        fixed = self.slower * self.fixed * gaussians / max(self.count, 1)
        pixels = self.slower * self.by_pixels
        return plan(clock.left, fixed, pixels, gaussians, side, most, gone)


def costs(step: Callable[[float], Any], share: float = 0.5) -> tuple[float, float]:
    """Return seconds of an iteration that do not and that do depend on the pixels, at full size.

    step: carries out the work of one at a share of the size.
    """
    timed = {}
    for size in (share, 1.0):
        step(size)
        started = time.perf_counter()
        step(size)
        timed[size] = time.perf_counter() - started
    by_pixels = max(0.0, (timed[1.0] - timed[share]) / (1 - share**2))
    by_pixels = max(by_pixels, 0.1 * timed[1.0])
    return max(timed[1.0] - by_pixels, 0.05 * timed[1.0]), by_pixels
