"""What is assumed of a scene beyond the paper is used only where training views say that it helps."""

import math
from typing import Any

import pytest
import torch

from kdst_3dgs import initialise, priors
from kdst_3dgs.method import Trainer
from kdst_3dgs.options import Options
from kdst_3dgs.starting import PosedPhotographs
from kdst_3dgs.views import Frame, prepare_views
from kdst_core.contracts import Capture
from kdst_reconstruct.default import solids
from kdst_reconstruct.holdout.choice import subset


@pytest.fixture(scope="module")
def shown() -> Capture:
    return subset(solids.capture(views=20, width=48, height=36, points=800), list(range(12)))


def arguments(shown: Capture, **changed: Any) -> dict[str, Any]:
    """The trainer's arguments."""
    given = {
        "images": shown.images,
        "intrinsics": torch.stack([c.K for c in shown.cameras]),
        "viewmats": torch.stack([c.viewmat for c in shown.cameras]),
        "points": shown.points,
        "colors": shown.colors,
        "masks": None,
        "tracks": None,
        "exposures": None,
        "background": None,
    }
    return given | changed


def frame_of(given: dict[str, Any]) -> Frame:
    names = ("images", "intrinsics", "viewmats", "points", "masks", "tracks")
    return prepare_views(*(given[name] for name in names))


def trainer(given: dict[str, Any], **options: Any) -> Trainer:
    settings = Options(**{"iterations": 30, "threads": 1} | options)
    return Trainer(settings, PosedPhotographs(**given), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("sky", "ground", "background", "cells"),
    [
        (2.0, 1.0, "white", 40),
        (2.0, -1.0, "white", 0),
        (-2.0, 1.0, "black", 40),
        (0.01, 0.01, "black", 0),
    ],
)
def test_only_what_helps_is_kept(
    shown: Capture,
    sky: float,
    ground: float,
    background: str,
    cells: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A score that says what each prior is worth decides alone, where no points show the ground."""
    monkeypatch.setattr(priors, "BORNE_OUT", 2.0)

    def score(options: Options) -> list[float]:
        gain = sky * (options.background == "white") + ground * bool(options.init_fill)
        return [20.0 + gain, 22.0 + gain]

    chosen, found = priors.choose(Options(), frame_of(arguments(shown)), False, score)
    assert (chosen.background, chosen.init_fill) == (background, cells)
    assert [p.gain for p in found] == pytest.approx([sky, ground])
    assert [p.kept for p in found] == [background == "white", cells > 0]


def test_a_ground_with_points_on_it_all_round_is_kept_without_a_trial(shown: Capture) -> None:
    def score(options: Options) -> list[float]:
        assert not options.init_fill
        return [20.0 + (options.background == "white")]

    frame = frame_of(arguments(shown))
    assert initialise.ground_seen(frame.views, frame.points, 40) > 0.8
    chosen, found = priors.choose(Options(), frame, False, score)
    assert (chosen.background, chosen.init_fill) == ("white", 40)
    assert (found[1].kept, found[1].gain) == (True, None)
    assert "points lie on it" in found[1].said


def test_a_ground_without_points_on_it_is_tried(shown: Capture) -> None:
    """As a lawn: what has points stands on it, and a few say how high it lies."""
    height = shown.points @ initialise.ground_of(frame_of(arguments(shown)).views, shown.points).up
    standing = (height > height.min() + 0.05).nonzero()[:, 0]
    rows = torch.cat([standing, (height <= height.min() + 0.05).nonzero()[:10, 0]])
    lawn = arguments(shown, points=shown.points[rows], colors=shown.colors[rows])
    frame = frame_of(lawn)
    assert initialise.ground_seen(frame.views, frame.points, 40) < priors.BORNE_OUT
    _, found = priors.choose(Options(), frame, False, lambda options: [20.0])
    assert [(p.kept, p.gain) for p in found] == [(False, 0.0), (False, 0.0)]


def test_what_the_user_says_is_not_tried(shown: Capture) -> None:
    def score(options: Options) -> list[float]:
        raise AssertionError("nothing is left to try")

    given = Options(background="white", init_fill=7)
    chosen, found = priors.choose(given, frame_of(arguments(shown)), False, score)
    assert (chosen.background, chosen.init_fill, found) == ("white", 7, [])
    known, _ = priors.choose(Options(), frame_of(arguments(shown)), True, score)
    assert (known.background, known.init_fill) == ("auto", 0)


def test_a_white_sky_is_kept_by_short_fits_and_a_grey_wall_is_none(shown: Capture) -> None:
    machine = trainer(arguments(shown))
    assert machine.priors[0].kept
    assert machine.priors[0].gain > 1
    assert machine.scene.background.tolist() == [1, 1, 1]
    grey = [0.68 * image for image in shown.images]
    machine = trainer(arguments(shown, images=grey))
    assert "white sky not assumed" in machine.priors[0].said
    assert machine.scene.background.tolist() == [0, 0, 0]


def test_trying_leaves_the_run_as_if_its_outcome_had_been_given(shown: Capture) -> None:
    tried = trainer(arguments(shown))
    cells = 40 if tried.priors[1].kept else 0
    told = trainer(arguments(shown), background="white", init_fill=cells)
    for machine in (tried, told):
        for _ in machine.run():
            pass
    for name, values in told.scene.parameters.items():
        assert torch.equal(values, tried.scene.parameters[name])


def rolled(shown: Capture, angles: list[float]) -> dict[str, Any]:
    """The capture with cameras turned about their axis of view, by degrees."""
    viewmats = []
    for camera, angle in zip(shown.cameras, angles, strict=True):
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        turn = torch.eye(4)
        turn[:2, :2] = torch.tensor([[c, -s], [s, c]])
        viewmats.append(turn @ camera.viewmat)
    return arguments(shown, viewmats=torch.stack(viewmats))


def test_gravity_is_sure_of_level_cameras_and_not_of_others(shown: Capture) -> None:
    def confidence(angles: list[float]) -> float:
        frame = frame_of(rolled(shown, angles))
        return initialise.ground_of(frame.views, frame.points).confidence

    level, shaky = confidence([0.0] * 12), confidence([3.0, -3.0] * 6)
    assert level > 0.9
    assert shaky > priors.SURE
    assert confidence([90.0, 0.0] * 6) < priors.SURE
    assert confidence([180.0, 0.0] * 6) < priors.SURE


def test_no_ground_is_assumed_where_gravity_is_not_sure(shown: Capture) -> None:
    """Not even where the user asks for one: the run says why."""
    given = rolled(shown, [90.0, 0.0] * 6)
    machine = trainer(given, init_fill=20, background="black")
    assert len(machine.scene) == len(shown.points)
    assert "ground not assumed: which way is down" in machine.priors[0].said


def test_cameras_that_look_the_same_way_halve_the_confidence(shown: Capture) -> None:
    given = arguments(shown)
    same = given["viewmats"][:1].repeat(12, 1, 1)
    same[:, 0, 3] += torch.arange(12) / 10
    frame = frame_of(given | {"viewmats": same})
    assert initialise.ground_of(frame.views, frame.points).confidence == pytest.approx(
        0.5, abs=0.01
    )


def test_small_copies_keep_what_each_view_sees(
    shown: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(priors, "POINTS", 300)
    monkeypatch.setattr(priors, "VIEWS", 5)
    monkeypatch.setattr(priors, "SIDE", 24)
    tracks = [torch.arange(k, 800, 2) for k in range(12)]
    masks = [None, *(torch.ones(36, 48, dtype=torch.bool) for _ in range(11))]
    given = arguments(shown, tracks=tracks, masks=masks)
    frame = frame_of(given)
    made = priors.sample(frame.views, given).given
    assert [tuple(i.shape) for i in made["images"]] == [(18, 24, 3)] * 5
    assert torch.equal(made["intrinsics"][0][:2], given["intrinsics"][0][:2] / 2)
    assert [m is None for m in made["masks"]] == [True, False, False, False, False]
    rows = [0, 3, 6, 8, 11]
    for row, seen in zip(rows, made["tracks"], strict=True):
        whole = {tuple(p) for p in shown.points[tracks[row]].tolist()}
        assert 100 < len(seen) < 200
        assert {tuple(p) for p in made["points"][seen].tolist()} <= whole


@pytest.mark.parametrize("count", [2, 3, 5, 6, 14, 20])
def test_views_left_out_are_inner_ones_and_leave_enough(count: int) -> None:
    found = priors.folds(count)
    out = [k for fold in found for k in fold]
    assert len(set(out)) == len(out) > 0
    assert len(found) == (2 if count > 5 else 1)
    if count > 2:
        assert 0 not in out
        assert count - 1 not in out
        assert all(count - len(fold) >= 2 for fold in found)


def test_trials_are_as_long_as_the_run_makes_worth_while() -> None:
    lengths = [
        priors.trial_options(Options(iterations=n)).iterations for n in (1, 900, 1500, 30_000)
    ]
    assert lengths == [20, 100, 100, 100]


def test_nothing_is_tried_in_a_hurry(shown: Capture) -> None:
    def score(options: Options) -> list[float]:
        raise AssertionError("no time")

    chosen, found = priors.choose(Options(), frame_of(arguments(shown)), False, score, True)
    assert (chosen.background, chosen.init_fill, found) == ("black", 0, [])


def test_a_background_goes_into_the_checkpoint(shown: Capture) -> None:
    machine = trainer(arguments(shown), background="white", init_fill=0)
    other = trainer(arguments(shown), background="black", init_fill=0)
    other.load_state_dict(machine.state_dict())
    assert torch.equal(other.scene.background, machine.scene.background)
