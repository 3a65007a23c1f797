"""A fit that has so many seconds takes them, and no more."""

import re
import time
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import kdst_core
from kdst_3dgs import budget
from kdst_3dgs.method import Trainer
from kdst_3dgs.options import Options
from kdst_3dgs.reconstruction import GaussianReconstruction
from kdst_3dgs.starting import PosedPhotographs
from kdst_3dgs.views import prepare_views
from kdst_core.contracts import ReconstructRequest
from kdst_core.errors import KdstError
from kdst_reconstruct import artifacts, expected
from kdst_reconstruct.default import solids


def test_more_time_gives_larger_pictures_then_more_iterations() -> None:
    plans = [budget.plan(s, 0.01, 0.2, 5000, 900, 10**6) for s in (20, 60, 200, 600, 6000, 10**5)]
    shares = [p.share for p in plans]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.25, 1.0)
    assert plans[-1].iterations == 30_000
    assert plans[-1].gaussians == 30_000
    for seconds, plan in zip((60, 200, 600), plans[1:4], strict=True):
        pixels = 0.2 * plan.share**2 * budget.pixels_left()
        growth = plan.gaussians / 5000
        spent = plan.iterations * (pixels + 0.01 * (1 + growth) / 2)
        assert spent == pytest.approx(seconds, rel=0.02)
        assert plan.iterations > budget.ENOUGH - 2


def test_a_plan_keeps_the_cap_and_does_not_make_pictures_tiny() -> None:
    plan = budget.plan(1.0, 0.01, 0.2, 5000, 120, 5500)
    assert plan.gaussians == 5500
    assert plan.share * 120 >= budget.SMALLEST
    assert budget.plan(1000.0, 0.01, 0.2, 5000, 120, 4000).gaussians == 4000


def test_the_clock_goes_on_where_an_earlier_session_stopped() -> None:
    at = [100.0]
    clock = budget.Clock(50.0, now=lambda: at[0])
    assert clock.gone == 0
    assert clock.size(0.8) == pytest.approx(0.2)
    at[0] = 115.0
    assert clock.gone == pytest.approx(0.3)
    assert clock.size(0.8) == pytest.approx(0.4)
    clock.go_on(0.5)
    assert clock.gone == pytest.approx(0.5)
    at[0] = 115.0 + 25.0
    assert clock.gone == pytest.approx(1.0)
    assert clock.size(0.8) == 0.8


def test_the_clock_takes_another_end_and_does_not_jump() -> None:
    at = [0.0]
    clock = budget.Clock(100.0, now=lambda: at[0])
    at[0] = 40.0
    clock.end_in(20.0)
    assert (clock.gone, clock.left) == (pytest.approx(0.4), pytest.approx(20.0))
    at[0] = 50.0
    assert clock.gone == pytest.approx(0.7)
    at[0] = 60.0
    assert clock.gone == pytest.approx(1.0)
    clock.end_in(-3.0)
    at[0] += 2e-3
    assert clock.gone >= 1


def test_pixels_that_are_left_are_those_of_the_sizes_to_come() -> None:
    assert budget.pixels_left() == pytest.approx(0.15 / 16 + 0.25 / 4 + 0.6)
    assert budget.pixels_left(0.3) == pytest.approx((0.1 / 4 + 0.6) / 0.7)
    assert budget.pixels_left(0.5) == pytest.approx(1)


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_the_size_follows_the_pace(factor: float) -> None:
    """Of a machine that becomes 4 times slower or faster after 30 % of the time."""
    at = [0.0]
    fixed, by_pixels = 0.01, 0.4
    first = budget.plan(300.0, fixed, by_pixels, 5000, 900, 10**6)
    clock, pace = budget.Clock(300.0, now=lambda: at[0]), budget.Pace(fixed, by_pixels, 5000)
    share = first.share
    while clock.gone < 1:
        size = clock.size(share)
        took = (fixed + by_pixels * size**2) * (factor if clock.gone > 0.3 else 1)
        at[0] += took
        pace.took(took, size, 5000)
        anew = pace.plan_anew(clock, 5000, 900, 10**6)
        share = anew.share if anew else share
    assert pace.slower == pytest.approx(factor, rel=0.01)
    assert at[0] == pytest.approx(300, abs=1)
    if factor == 1:
        assert share == first.share
    else:
        assert (share < first.share) == (factor > 1)
        assert share != first.share


def test_costs_are_told_apart_by_two_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    at = [0.0]
    monkeypatch.setattr(budget.time, "perf_counter", lambda: at[0])

    def step(share: float) -> None:
        at[0] += 0.03 + 0.4 * share**2

    fixed, by_pixels = budget.costs(step)
    assert (fixed, by_pixels) == (pytest.approx(0.03), pytest.approx(0.4))


def test_smaller_pictures_see_the_same() -> None:
    capture = solids.capture(views=3, width=64, height=48, points=50)
    poses = [torch.stack([getattr(c, name) for c in capture.cameras]) for name in ("K", "viewmat")]
    mask = torch.zeros(48, 64, dtype=torch.bool)
    mask[:24] = True
    frame = prepare_views(capture.images, *poses, capture.points, [mask] * 3, None)
    image, K, small = frame.views[1].sized(0.5, 16)
    assert image.shape == (24, 32, 3)
    assert torch.equal(K[:2], frame.views[1].K[:2] / 2)
    assert small is not None
    assert small.float().mean() == pytest.approx(0.5)
    means = capture.images[1].reshape(24, 2, 32, 2, 3).mean((1, 3))
    assert (image - means).abs().max() < 1 / 255
    assert frame.views[1].sized(0.01, 16)[0].shape[0] == 16
    assert torch.equal(frame.views[1].sized(1.0, 16)[0], capture.images[1])


def arguments(**changed: Any) -> dict[str, Any]:
    capture = solids.capture(views=6, width=80, height=60, points=400)
    given = {
        "images": capture.images,
        "intrinsics": torch.stack([c.K for c in capture.cameras]),
        "viewmats": torch.stack([c.viewmat for c in capture.cameras]),
        "points": capture.points,
        "colors": capture.colors,
    }
    return given | changed


def test_a_trainer_with_seconds_ends_when_they_are_over() -> None:
    options = Options(threads=1, background="white", init_fill=0)
    generator = torch.Generator().manual_seed(0)
    warm = Trainer(options, PosedPhotographs(**arguments()), generator=generator)
    next(warm.run())
    machine = Trainer(options, PosedPhotographs(**arguments()), generator=generator, seconds=3.0)
    assert machine.timetable is not None
    gone, numbers = [0.0], []
    for iteration, _ in machine.run():
        numbers.append(iteration)
        gone.append(machine.timetable.clock.gone)
    longest = max(after - before for before, after in pairwise(gone))
    assert gone[-2] < 1 <= gone[-1] < 1.01 + longest
    assert numbers == list(range(1, len(numbers) + 1))
    assert machine.options.iterations == len(numbers)
    assert machine.progress == 1.0
    assert machine.state_dict()["gone"] >= 1


def test_a_run_ends_earlier_where_others_slow_down_what_comes_after() -> None:
    at, worked = [0.0], [0.0]
    deadline = expected.Deadline(100.0, 10.0, lambda: at[0], lambda: worked[0])
    assert deadline.left() is None
    at[0], worked[0] = 10.0, 10.0
    assert deadline.left() == pytest.approx(80)
    at[0], worked[0] = 20.0, 12.5
    assert deadline.left() == pytest.approx(100 - 20 - 4 * 10)
    at[0], worked[0] = 30.0, 42.5  # more threads than one
    assert deadline.left() == pytest.approx(60)


class Machine:
    """A clock that work moves on, as many times slower as others use the machine by then."""

    def __init__(self, loads: list[tuple[float, float]]) -> None:
        self.loads, self.now, self.worked = loads, 0.0, 0.0

    def work(self, seconds: float) -> None:
        """Do what takes so long on a machine at rest."""
        load = next(load for until, load in self.loads if self.now < until)
        self.now += load * seconds
        self.worked += seconds


@pytest.mark.parametrize(
    "loads",
    [
        [(1e9, 1.0)],
        [(40.0, 1.0), (1e9, 4.0)],
        [(40.0, 4.0), (1e9, 1.0)],
        [(30.0, 1.0), (90.0, 5.0), (1e9, 2.0)],
        [(110.0, 1.0), (1e9, 3.0)],
    ],
)
def test_the_whole_run_ends_in_time_while_the_load_changes(
    loads: list[tuple[float, float]],
) -> None:
    """Fit, then pictures: 120 s, of which 12 are set aside on a machine at rest."""
    machine, minutes, after, count, side = Machine(loads), 2.0, 12.0, 5000, 900
    deadline = expected.Deadline(60 * minutes, after, lambda: machine.now, lambda: machine.worked)
    fixed, by_pixels = 0.01, 0.2
    chosen = budget.plan(60 * minutes - after, fixed, by_pixels, count, side, 10**6)
    clock = budget.Clock(60 * minutes - after, lambda: machine.now)
    pace, shares = budget.Pace(fixed, by_pixels, count), [chosen.share]
    while clock.gone < 1:
        size, before = clock.size(shares[-1]), machine.now
        machine.work(fixed + by_pixels * size**2)
        pace.took(machine.now - before, size, count)
        anew = pace.plan_anew(clock, count, side, chosen.gaussians)
        shares += [] if anew is None else [anew.share]
        left = deadline.left()
        if left is not None:
            clock.end_in(left)
    machine.work(after)
    assert machine.now < 1.05 * 60 * minutes
    changes = [until for until, _ in loads[:-1]]
    assert (len(shares) > 1) == any(until < 100 for until in changes), "chosen anew by the pace"
    if not changes:
        assert machine.now > 0.95 * 60 * minutes


def test_a_fit_that_is_told_to_end_sooner_does() -> None:
    capture = solids.capture(views=6, width=80, height=60, points=400)
    generator = torch.Generator().manual_seed(0)
    request = ReconstructRequest(capture, generator, None, 60.0)
    options = Options(threads=1, background="white", init_fill=0)
    fit = GaussianReconstruction(request, options, "cpu")
    next(fit)
    started = time.monotonic()
    fit.end_in(1.0)
    count = sum(1 for _ in fit)
    assert 0.9 < time.monotonic() - started < 20
    assert fit.share_done == 1.0
    assert fit.iterations == count + 1


def test_a_run_with_minutes_holds_what_it_chose(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renders are slow here, so that no time is left for the video."""
    monkeypatch.setattr(artifacts, "seconds_per_render", lambda *_: 100.0)
    result = kdst_core.run(
        "3dgs", out=tmp_path / "r", minutes=0.4, width=64, flight_frames=3, threads=1
    )
    assert "flight.mp4" not in result.data["artifacts"]
    assert "flight.mp4 has 0 frames, as many as --minutes left time for." in result.data["warnings"]
    assert re.fullmatch(
        r"photographs of at most \d+ pixels, [\d,]+ Gaussians, about [\d,]+ iterations",
        result.data["plan"],
    )
    assert result.metrics["iterations"] > 3
    with pytest.raises(KdstError, match="exclude each other"):
        kdst_core.run("3dgs", out=tmp_path / "s", minutes=1, iterations=50)
    with pytest.raises(KdstError, match="are gone before the fit"):
        kdst_core.run("3dgs", out=tmp_path / "s", minutes=0.05)
    assert not (tmp_path / "s").exists()


def test_what_was_chosen_is_said_in_advance(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = SimpleNamespace(plan="photographs of 400 pixels", foreseen=lambda: (1.0, 1 << 30))
    expected.announce_plan(SimpleNamespace(show="auto"), 2.5, chosen)  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert said.startswith("Expected: about 2 min from the start, photographs of 400 pixels, and ")
    camera = SimpleNamespace(width=1000, height=1000)
    plain = expected.seconds_after([camera], [], 0)
    assert expected.seconds_after([camera], [1, 2], 100) == pytest.approx(plain + 12 + 4)
    with_lpips = expected.seconds_after([camera], [1, 2], 100, lpips=1e-5)
    assert with_lpips == pytest.approx(plain + 12 + 4 + 20)
    assert expected.seconds_after([camera], [], 0, exports=2) == pytest.approx(plain + 6)


def test_a_method_that_knows_no_clock_is_refused() -> None:
    with pytest.raises(KdstError, match="does not keep to a time"):
        expected.announce_plan(None, 2.0, object())  # type: ignore[arg-type]
    expected.announce_plan(None, None, object())  # type: ignore[arg-type]
