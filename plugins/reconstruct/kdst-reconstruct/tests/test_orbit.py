"""Cameras on an orbit: where they stand and what they look at."""

import math

import attrs
import numpy as np
import pytest
import torch

from kdst_core.contracts import Camera, Splats
from kdst_reconstruct.default import solids
from kdst_reconstruct.rendering import orbit, paths

CAPTURE = solids.capture(views=16, width=32, height=24, points=50)
MIDDLE = np.array([9.0, 9.0, 9.0])


def test_up_and_focus_are_those_of_the_capture() -> None:
    assert orbit.upward(CAPTURE.cameras) == pytest.approx([0, 0, 1], abs=1e-5)
    assert orbit.upward(CAPTURE.cameras[2:5]) == pytest.approx([0, 0, 1], abs=1e-5)
    assert orbit.focus(CAPTURE.cameras, MIDDLE) == pytest.approx([0, 0, 0.25], abs=1e-4)


def test_an_orbit_goes_round_where_the_photographs_do() -> None:
    cameras = orbit.around_views(CAPTURE.cameras, MIDDLE, 12)
    centres, rotations = orbit.placement(cameras)
    flat = np.linalg.norm(centres[:, :2], axis=1)
    assert flat == pytest.approx(np.full(12, 3.6), abs=0.01)
    angles = np.sort(np.arctan2(centres[:, 1], centres[:, 0]))
    assert np.diff(angles) == pytest.approx(np.full(11, 2 * math.pi / 12), abs=0.02)
    towards = np.array([0, 0, 0.25]) - centres
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    assert rotations[:, :, 2] == pytest.approx(towards, abs=1e-3)
    assert np.linalg.det(rotations) == pytest.approx(np.ones(12))


def test_an_orbit_swings_over_the_arc_that_the_photographs_cover() -> None:
    cameras = CAPTURE.cameras[2:7]
    centres, _ = orbit.placement(orbit.around_views(cameras, MIDDLE, 40))
    angles = np.arctan2(centres[:, 1], centres[:, 0])
    step = 2 * math.pi / 16
    assert angles.min() == pytest.approx(2 * step, abs=0.03)
    assert angles.max() == pytest.approx(6 * step, abs=0.03)


def test_cameras_that_look_the_same_way_focus_on_the_middle_of_the_scene() -> None:
    first = CAPTURE.cameras[0]
    moved = first.viewmat.clone()
    moved[0, 3] += 0.5
    pair = [first, attrs.evolve(first, viewmat=moved)]
    assert orbit.focus(pair, MIDDLE) == pytest.approx(MIDDLE)
    assert len(orbit.around_views([first], MIDDLE, 3)) == 3


@pytest.mark.parametrize("up", ["x", "-x", "y", "-y", "z", "-z"])
def test_without_photographs_most_of_the_scene_is_in_the_picture(up: str) -> None:
    means = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) + 5
    splats = Splats(means, torch.eye(3).expand(200, 3, 3), torch.rand(200, 3), torch.ones(200))
    for camera in orbit.around_scene(splats, orbit.axis(up), 5, (64, 48)):
        seen = means @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        pixels = seen @ camera.K.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        inside = (pixels > 0).all(1) & (pixels < torch.tensor([64, 48])).all(1) & (seen[:, 2] > 0)
        assert inside.float().mean() > 0.75
        vertical = torch.from_numpy(orbit.axis(up)).float() @ camera.viewmat[:3, :3].T
        assert vertical[1] < -0.5


def test_a_scaled_camera_sees_the_same() -> None:
    camera = Camera(
        torch.tensor([[50.0, 0, 20], [0, 48, 16], [0, 0, 1]]), torch.eye(4), width=40, height=32
    )
    double = paths.scaled(camera, 80)
    assert (double.width, double.height) == (80, 64)
    point = torch.tensor([0.1, -0.2, 1.0])
    assert 2 * (camera.K @ point)[:2] == pytest.approx((double.K @ point)[:2])
